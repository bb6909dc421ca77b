package lambic.runtime;

import java.io.File;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Loads the function: from its package, the package's jars, and those of layers, in this order. What this
 * client offers (AWS's interfaces) comes first, so that a copy which the package brings is the same.
 */
final class TaskLoader extends URLClassLoader {
    /** {@code layers} are the folder of them, if there are any. */
    TaskLoader(String task, String layers) {
        super(places(task, layers), ClassLoader.getSystemClassLoader());
    }

    private static URL[] places(String task, String layers) {
        try {
            List<URL> places = new ArrayList<>();
            places.add(new URL("file", null, -1, task + "/"));
            addJars(places, task + "/lib");
            if (layers != null) {
                addJars(places, layers + "/java/lib");
            }
            return places.toArray(new URL[0]);
        } catch (MalformedURLException never) {
            throw new IllegalStateException(never);
        }
    }

    private static void addJars(List<URL> places, String folder) throws MalformedURLException {
        String[] names = new File(folder).list();
        if (names == null) {
            return;
        }
        Arrays.sort(names);
        for (String name : names) {
            if (name.endsWith(".jar") && name.length() > 4) {
                places.add(new URL("file", null, -1, folder + "/" + name));
            }
        }
    }
}
