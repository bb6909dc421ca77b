package t;

import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;

/** The functions that the client is tested with. */
public class Fn {
    private static byte[] all(InputStream in) throws IOException {
        byte[] bytes = new byte[in.available()];
        int count = in.read(bytes);
        return count < 0 ? new byte[0] : Arrays.copyOf(bytes, count);
    }

    public static class Echo implements RequestHandler<Object, Object> {
        @Override
        public Object handleRequest(Object event, Context context) {
            return event;
        }
    }

    public static class Person {
        private String name;
        private int age;
        private List<String> tags;
        public Double height;

        public String getName() { return name; }
        public void setName(String name) { this.name = name; }
        public int getAge() { return age; }
        public void setAge(int age) { this.age = age; }
        public List<String> getTags() { return tags; }
        public void setTags(List<String> tags) { this.tags = tags; }
    }

    /** The types are given by a class between. */
    public abstract static class Between<A, B> implements RequestHandler<B, A> {}

    public static class OfPerson extends Between<String, Person> {
        @Override
        public String handleRequest(Person person, Context context) {
            return person.getName() + "/" + person.getAge() + "/" + person.getTags() + "/" + person.height;
        }
    }

    public static class OfList implements RequestHandler<List<Person>, List<Person>> {
        @Override
        public List<Person> handleRequest(List<Person> people, Context context) {
            return people;
        }
    }

    public static class Stream implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream in, OutputStream out, Context context) throws IOException {
            byte[] event = all(in);
            out.write(("got " + context.getFunctionName() + " ").getBytes("UTF-8"));
            out.write(event);
        }
    }

    @SuppressWarnings("rawtypes")
    public static class Raw implements RequestHandler {
        @Override
        public Object handleRequest(Object event, Context context) {
            return event;
        }
    }

    public static class Loose<T> implements RequestHandler<T, String> {
        @Override
        public String handleRequest(T event, Context context) {
            return "";
        }
    }

    public static class Methods {
        public String none() { return "none"; }
        public static int fixed(int n) { return n + 1; }
        public Person person(Person person) { return person; }
        public String withContext(Map<String, Integer> event, Context context) { return event + " " + context.getFunctionName(); }
        public String onlyContext(Context context) { return context.getFunctionName(); }
        public void nothing(String event) {}
        public void in(InputStream in) throws IOException { all(in); }
        public void out(OutputStream out) throws IOException { out.write("\"out\"".getBytes("UTF-8")); }
        public void inOut(InputStream in, OutputStream out) throws IOException { out.write(all(in)); }
        public void inOutContext(InputStream in, OutputStream out, Context c) throws IOException { out.write(all(in)); }
        public void outContext(OutputStream out, Context c) throws IOException { out.write(c.getFunctionName().getBytes("UTF-8")); }
        public void inContext(InputStream in, Context c) {}
        public String over(String event) { return "one"; }
        public String over(String event, Context context) { return "with context"; }
        public String over(String a, String b, String c, String d) { return "four"; }
        public String over(Context c, String event) { return "context first"; }
        public String never(String a, String b) { return "never"; }
    }

    public class Inner implements RequestHandler<Object, Object> {
        @Override
        public Object handleRequest(Object event, Context context) {
            return null;
        }
    }

    public static class NoConstructor extends Echo {
        public NoConstructor(int n) {}
    }

    public static class Throws extends Echo {
        public Throws() {
            throw new IllegalArgumentException("not made");
        }
    }

    public static class ThrowsStatic extends Echo {
        static final int N = Integer.parseInt("x");
    }

    public static class Refused extends Exception {
        private static final long serialVersionUID = 1;

        Refused(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** The event says what to do. */
    public static class Does implements RequestHandler<Map<String, Object>, Object> {
        private static int count;

        @Override
        public Object handleRequest(Map<String, Object> event, Context context) {
            count++;
            try {
                return act((String) event.get("do"), context);
            } catch (Exception thrown) {
                return sneak(thrown);
            }
        }

        @SuppressWarnings("unchecked")
        private static <T extends Throwable> Object sneak(Throwable thrown) throws T {
            throw (T) thrown;
        }

        private static int deep(int n) {
            return deep(n + 1) + 1;
        }

        private Object act(String what, Context context) throws Exception {
            switch (what) {
                case "count":
                    return count;
                case "throw":
                    throw new Refused("bööm", new IllegalStateException("inner\nlines"));
                case "without message":
                    throw new NullPointerException();
                case "deep":
                    return deep(0);
                case "memory":
                    List<byte[]> kept = new ArrayList<>();
                    while (true) {
                        kept.add(new byte[1 << 20]);
                    }
                case "exit":
                    System.exit(3);
                    return null;
                case "halt":
                    Runtime.getRuntime().halt(0);
                    return null;
                case "interrupt":
                    Thread.currentThread().interrupt();
                    return Thread.currentThread().isInterrupted();
                case "nan":
                    return Double.NaN;
                case "stuck":
                    return new Object() {
                        public String getText() {
                            throw new IllegalStateException("no text");
                        }
                    };
                case "context":
                    return context(context);
                case "print":
                    return print(context);
                case "levels":
                    return levels(context);
                default:
                    return process();
            }
        }

        private static Object context(Context c) {
            ClientContext client = c.getClientContext();
            return Arrays.asList(
                    c.getAwsRequestId(), c.getFunctionName(), c.getFunctionVersion(), c.getInvokedFunctionArn(), c.getMemoryLimitInMB(),
                    c.getLogGroupName(), c.getLogStreamName().substring(10, 20), c.getRemainingTimeInMillis() > 55_000, c.getIdentity(),
                    client == null ? null : Arrays.asList(client.getCustom(), client.getEnvironment(), client.getClient().getAppTitle()),
                    c.getTenantId(), c.getXrayTraceId().substring(0, 40), System.getProperty("com.amazonaws.xray.traceHeader").substring(0, 40));
        }

        private static Object print(Context context) throws Exception {
            System.out.println("plain ä");
            System.out.print("one");
            System.out.println("two\nthree");
            System.err.println("err");
            LambdaLogger logger = context.getLogger();
            logger.log("logged\ntwice\n");
            logger.log("a warning\n", LogLevel.WARN);
            logger.log("bytes\n".getBytes("UTF-8"));
            logger.log((String) null);
            System.out.println();
            com.amazonaws.services.lambda.runtime.LambdaRuntime.getLogger().log("without context\n");
            System.out.print("no newline");
            return null;
        }

        private static Object levels(Context context) {
            for (LogLevel level : LogLevel.values()) {
                context.getLogger().log(level + " \"ü\"\n2", level);
            }
            return null;
        }

        private static Object process() throws Exception {
            Map<String, Object> told = new LinkedHashMap<>();
            List<String> ours = new ArrayList<>();
            for (String name : System.getenv().keySet()) {
                if (name.contains("LAMBIC") || name.startsWith("LC_")) {
                    ours.add(name);
                }
            }
            told.put("ours", ours);
            told.put("own", System.getenv("OWN"));
            told.put("execution", System.getenv("AWS_EXECUTION_ENV"));
            told.put("folder", System.getProperty("user.dir").equals(System.getenv("LAMBDA_TASK_ROOT")));
            told.put("absolute", new File("x").getAbsolutePath().equals(System.getenv("LAMBDA_TASK_ROOT") + "/x"));
            try (FileInputStream file = new FileInputStream("data.txt")) {
                told.put("file", new Scanner(file, "UTF-8").nextLine());
            }
            told.put("path", Files.exists(Paths.get("data.txt")));
            told.put("resource", Fn.class.getResource("/data.txt") != null);
            Process child = new ProcessBuilder("/bin/sh", "-c", "echo \"$OWN $LC_ALL\"; pwd; ls /proc/self/fd | wc -l").start();
            List<String> lines = new ArrayList<>();
            try (Scanner said = new Scanner(child.getInputStream(), "UTF-8")) {
                while (said.hasNextLine()) {
                    lines.add(said.nextLine());
                }
            }
            told.put("child", lines.get(0) + "|" + lines.get(1).equals(System.getenv("LAMBDA_TASK_ROOT")));
            told.put("encodings", java.nio.charset.Charset.defaultCharset() + " " + System.getProperty("sun.jnu.encoding"));
            told.put("negative", java.security.Security.getProperty("networkaddress.cache.negative.ttl"));
            told.put("heap", Runtime.getRuntime().maxMemory() >> 20);
            told.put("loader", Thread.currentThread().getContextClassLoader() == Fn.class.getClassLoader());
            told.put("core", Context.class.getClassLoader() == ClassLoader.getSystemClassLoader());
            told.put("began", new String(Files.readAllBytes(Paths.get("/proc/self/environ")), "UTF-8").contains("_LAMBIC_SPARE=1"));
            return told;
        }
    }
}
