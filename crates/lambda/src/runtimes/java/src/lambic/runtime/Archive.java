package lambic.runtime;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;

/** A run from which Java keeps what it has loaded, so that later ones begin with that. */
final class Archive {
    private Archive() {}

    /** Prints the memory map, which has the libraries that a function may have its own of. */
    static void make(String home) throws Exception {
        Rehearsal.run(home);
        // What only a function has.
        new LambdaContext.Variables();
        System.out.print(new String(Files.readAllBytes(Paths.get("/proc/self/maps")), StandardCharsets.UTF_8));
    }
}
