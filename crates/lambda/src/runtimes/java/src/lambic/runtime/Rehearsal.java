package lambic.runtime;

import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;

/**
 * Does what every function needs, because the first time takes far longer: taking an event, loading a class
 * from a jar, making objects of JSON and JSON of objects, answering, logging, telling an error. Leaves
 * nothing behind but what is faster by it.
 */
final class Rehearsal {
    private static final int EVENTS = 4;
    private static final String[] HANDLERS = {
        "lambic.rehearsal.OfMaps", "lambic.rehearsal.OfObjects", "lambic.rehearsal.OfObjects::take",
        "lambic.rehearsal.OfStreams", "lambic.rehearsal.Throwing", "lambic.rehearsal.Absent",
    };

    /** Where Java keeps the variables; loaded here, but it must not read them yet. */
    private static final String[] LOADED_ONLY = {
        "java.lang.ProcessEnvironment", "java.lang.ProcessEnvironment$ExternalData", "java.lang.ProcessEnvironment$Variable",
        "java.lang.ProcessEnvironment$Value", "java.lang.ProcessEnvironment$StringEnvironment", "java.lang.ProcessImpl",
        "lambic.runtime.LambdaContext$Variables",
    };

    private Rehearsal() {}

    static void run(String home) throws Exception {
        Platform platform = new Platform();
        Connection connection = new Connection(platform);
        connection.begin("127.0.0.1:9001");
        Json.object(connection.become());
        for (String name : HANDLERS) {
            platform.left = EVENTS;
            // Its jar is where a function's are, so that it is found in the same way.
            try (TaskLoader loader = new TaskLoader(home + "/rehearsal", null)) {
                Log log = new Log(new Nowhere(), name.endsWith("OfObjects"), LogLevel.UNDEFINED);
                Main.setLogger(log);
                new Main(connection, log, Handlers.find(name, loader), null).serve();
            } catch (Connection.Closed over) {
                // It has had its events.
            }
        }
        for (String name : LOADED_ONLY) {
            try {
                Class.forName(name, false, Rehearsal.class.getClassLoader());
            } catch (ClassNotFoundException otherJava) {
                // It keeps them elsewhere.
            }
        }
        Main.cacheAbsentNames("1");
        System.clearProperty("com.amazonaws.xray.traceHeader");
        System.gc();
    }

    private static final class Nowhere extends OutputStream {
        @Override
        public void write(int each) {}

        @Override
        public void write(byte[] what, int from, int count) {}
    }

    /** Answers as the platform does. */
    private static final class Platform extends Wire {
        private static final String BECOMES = "{\"env\":{\"A\":\"x\"},\"cwd\":\"/tmp\"}";
        private static final String EVENT = "{\"name\":\"x\",\"count\":1,\"nested\":{\"list\":[1,2.5,true,null,\"text\"]}}";
        private static final String ABOUT = "lambda-runtime-aws-request-id: 0\r\nlambda-runtime-deadline-ms: 0\r\n"
                + "lambda-runtime-trace-id: Root=1\r\nlambda-runtime-invoked-function-arn: arn\r\n";

        /** How many events are still to come. */
        int left;
        private byte[] said = new byte[0];

        @Override
        int read(byte[] into, int from, int count) {
            System.arraycopy(said, 0, into, from, said.length);
            return said.length;
        }

        @Override
        boolean write(byte[] what, int count) {
            String asked = new String(what, 0, count, StandardCharsets.UTF_8);
            StringBuilder answer = new StringBuilder();
            if (asked.startsWith("POST ")) {
                say(answer, "202 Accepted", "", "{\"status\":\"OK\"}\n");
            }
            if (asked.startsWith("GET /lambic/become ")) {
                say(answer, "200 OK", "", BECOMES);
            } else if (asked.contains("/invocation/next ") && left-- > 0) {
                say(answer, "200 OK", ABOUT, EVENT);
            } else {
                say(answer, "410 Gone", "", "");
            }
            said = answer.toString().getBytes(StandardCharsets.UTF_8);
            return true;
        }

        private static void say(StringBuilder answer, String status, String more, String body) {
            answer.append("HTTP/1.1 ").append(status).append("\r\ncontent-type: application/json\r\n").append(more);
            answer.append("content-length: ").append(body.length()).append("\r\n\r\n").append(body);
        }
    }
}
