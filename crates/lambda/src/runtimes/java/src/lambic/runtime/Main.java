package lambic.runtime;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import com.amazonaws.services.lambda.runtime.LambdaRuntimeInternal;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOError;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.security.Security;
import java.util.Locale;
import java.util.Map;

/**
 * The Java runtime client of Lambic: AWS Lambda's Runtime API on one raw socket.
 *
 * <p>Life: take over the inherited socket (or connect to {@code AWS_LAMBDA_RUNTIME_API}), load the
 * function's class, then for ever: ask for an event, call the handler, send its result or error. What a
 * function can see (interfaces, context object, JSON, error documents, log format) is as on AWS; JSON is
 * made by AWS's own library. When the platform closes the socket the process ends quietly.
 *
 * <p>A spare is started before there is a function: it rehearses, asks what it becomes and waits, takes on
 * the function's variables and working directory, and goes on as above. Nothing here may have asked Java
 * for a variable before that.
 *
 * <p>Java 8 and later.
 */
final class Main {
    private static final String TRACE = "com.amazonaws.xray.traceHeader";

    private final Connection connection;
    private final Log log;
    private final Handlers.Call handler;
    private final LambdaContext.Variables variables;
    private final Result result = new Result();

    /** Gives its buffer away without copying it. */
    private static final class Result extends ByteArrayOutputStream {
        private static final int KEPT_BYTES_MAX = 1 << 16;

        Result() {
            super(1024);
        }

        byte[] buffer() {
            return buf;
        }

        /** A result of several MB is not kept while waiting for the next event. */
        void forget() {
            count = 0;
            if (buf.length > KEPT_BYTES_MAX) {
                buf = new byte[1024];
            }
        }
    }

    Main(Connection connection, Log log, Handlers.Call handler, LambdaContext.Variables variables) {
        this.connection = connection;
        this.log = log;
        this.handler = handler;
        this.variables = variables;
    }

    /** With an argument it makes an archive; wrappers of functions put options of Java before the last word. */
    public static void main(String[] arguments) throws Exception {
        String home = System.getProperty("lambic.home");
        Native.load(home);
        if (arguments.length > 0) {
            Archive.make(home);
            return;
        }
        try {
            start(home).serve();
        } catch (Connection.Closed over) {
            end(0);
        }
    }

    private static Main start(String home) throws Exception {
        boolean isSpare = Native.variable("_LAMBIC_SPARE") != null;
        String fd = Native.variable("_LAMBIC_RUNTIME_FD");
        String api = Native.variable("AWS_LAMBDA_RUNTIME_API");
        Connection connection = new Connection(fd == null ? Wire.connected(api) : Wire.inherited(Integer.parseInt(fd)));
        if (isSpare) {
            Rehearsal.run(home);
            become(connection.become());
        }
        String layers = Native.variable("_LAMBIC_LAYERS");
        forget();
        Native.enter(Native.variable("LAMBDA_TASK_ROOT"));
        connection.begin(System.getenv("AWS_LAMBDA_RUNTIME_API"));
        String seconds = System.getenv("AWS_LAMBDA_JAVA_NETWORKADDRESS_CACHE_NEGATIVE_TTL");
        if (seconds != null || !isSpare) {
            cacheAbsentNames(seconds == null ? "1" : seconds);
        }
        Log log = log(new FileOutputStream(FileDescriptor.out));
        setLogger(log);
        ClassLoader loader = new TaskLoader(System.getenv("LAMBDA_TASK_ROOT"), layers);
        Thread.currentThread().setContextClassLoader(loader);
        return new Main(connection, log, loaded(connection, log, loader), new LambdaContext.Variables());
    }

    /** Takes on what this process was to be started with. */
    static void become(byte[] told) {
        Native.become((Map<?, ?>) Json.object(told).get("env"));
    }

    /** What is between the platform and this client only. The locale is Java's; see plan.rs. */
    private static void forget() {
        if (Native.variable("_LAMBIC_CTYPE") != null) {
            Native.forget("LC_ALL");
        }
        for (String name : new String[] {"_LAMBIC_CTYPE", "_LAMBIC_LAYERS", "_LAMBIC_RUNTIME_FD"}) {
            Native.forget(name);
        }
    }

    /** For so long a name that was not found is not asked for again; AWS has one second. */
    static void cacheAbsentNames(String seconds) {
        if (System.getProperty("java.security.properties") == null) {
            Security.setProperty("networkaddress.cache.negative.ttl", seconds);
        }
    }

    /** As the function's configuration wants it. */
    static Log log(OutputStream out) {
        String format = System.getenv("AWS_LAMBDA_LOG_FORMAT");
        String level = System.getenv("AWS_LAMBDA_LOG_LEVEL");
        return new Log(out, "JSON".equalsIgnoreCase(format), level(level));
    }

    private static LogLevel level(String name) {
        try {
            return name == null ? LogLevel.UNDEFINED : LogLevel.valueOf(name.toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException unknown) {
            // With text logs it is the function's own variable, which may mean something else.
            return LogLevel.UNDEFINED;
        }
    }

    /** What functions get that have no context at hand. */
    static void setLogger(LambdaLogger log) throws ReflectiveOperationException {
        Field logger = LambdaRuntime.class.getDeclaredField("logger");
        logger.setAccessible(true);
        logger.set(null, log);
    }

    /** The handler; a function that cannot be loaded ends the process. */
    private static Handlers.Call loaded(Connection connection, Log log, ClassLoader loader) {
        try {
            return Handlers.find(System.getenv("_HANDLER"), loader);
        } catch (Failure failure) {
            log.error(failure.told());
            flush();
            connection.failInit("Runtime.BadFunctionCode", Failure.document(failure));
            end(1);
            throw failure;
        }
    }

    /** Serves one event after the other. */
    void serve() {
        while (true) {
            Connection.Answer event = connection.next();
            serve(event);
            result.forget();
        }
    }

    private void serve(Connection.Answer event) {
        String id = event.headers.get("lambda-runtime-aws-request-id");
        String trace = event.headers.get("lambda-runtime-trace-id");
        if (trace == null) {
            System.clearProperty(TRACE);
        } else {
            System.setProperty(TRACE, trace);
        }
        try {
            LambdaContext context = new LambdaContext(variables, event.headers, log);
            log.serve(id, context.getTenantId());
            if (LambdaRuntimeInternal.getUseLog4jAppender()) {
                tellLog4j(id);
            }
            handler.run(new ByteArrayInputStream(event.body), result, context);
            // Of the function's own making.
            Thread.interrupted();
        } catch (Throwable thrown) {
            fail(id, thrown);
            return;
        }
        flush();
        connection.respond(id, result.buffer(), result.size());
    }

    private void fail(String id, Throwable thrown) {
        boolean ends = thrown instanceof VirtualMachineError || thrown instanceof IOError;
        Failure.trimmed(thrown);
        log.error(Failure.of(thrown, false).told());
        flush();
        String kind = thrown instanceof Failure ? "Runtime.BadFunctionCode" : "Runtime.UserException";
        connection.fail(id, kind, Failure.document(thrown), !ends);
        if (ends) {
            // As AWS's client: nobody knows what is broken now.
            end(1);
        }
    }

    /** Log4j has the id in its own context, under AWS's name. */
    private static void tellLog4j(String id) {
        boolean isTold = tell("org.apache.log4j.MDC", Object.class, id);
        isTold |= tell("org.apache.logging.log4j.ThreadContext", String.class, id);
        if (!isTold) {
            System.err.println("Customer using log4j appender but unable to load either org.apache.log4j.MDC or "
                    + "org.apache.logging.log4j.ThreadContext. Customer cannot see RequestId in log4j log lines.");
        }
    }

    private static boolean tell(String name, Class<?> type, String id) {
        try {
            Class<?> context = Class.forName(name, true, Thread.currentThread().getContextClassLoader());
            context.getMethod("put", String.class, type).invoke(null, "AWSRequestId", id);
            return true;
        } catch (ReflectiveOperationException | LinkageError absent) {
            return false;
        }
    }

    private static void flush() {
        for (PrintStream stream : new PrintStream[] {System.out, System.err}) {
            stream.flush();
        }
    }

    private static void end(int code) {
        flush();
        if (code == 0) {
            // Nothing of the function's is to run any more.
            Runtime.getRuntime().halt(0);
        }
        System.exit(code);
    }
}
