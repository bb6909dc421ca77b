package lambic.runtime;

import java.nio.charset.StandardCharsets;
import java.util.Map;

/** What the system offers and Java does not; see native.c. */
final class Native {
    private Native() {}

    static void load(String home) {
        System.load(home + "/lib/liblambic.so");
    }

    /** A variable of this process. {@code System.getenv} would keep all that there are by now. */
    static String variable(String name) {
        byte[] value = variable(bytes(name));
        return value == null ? null : new String(value, StandardCharsets.UTF_8);
    }

    static void forget(String name) {
        forget(bytes(name));
    }

    /** Makes this the working directory. */
    static void enter(String folder) {
        int error = enter(bytes(folder));
        if (error != 0) {
            throw new IllegalStateException("working directory " + folder + ": error " + error);
        }
    }

    /** These and no others are the variables of this process. */
    static void become(Map<?, ?> variables) {
        StringBuilder block = new StringBuilder();
        for (Map.Entry<?, ?> each : variables.entrySet()) {
            block.append(each.getKey()).append('=').append(each.getValue()).append('\0');
        }
        become(bytes(block.toString()));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static native byte[] variable(byte[] name);

    private static native void forget(byte[] name);

    private static native int enter(byte[] folder);

    private static native void become(byte[] variables);

    static native void keep(int fd);

    static native int read(int fd, byte[] into, int from, int count);

    static native boolean write(int fd, byte[] what, int count);
}
