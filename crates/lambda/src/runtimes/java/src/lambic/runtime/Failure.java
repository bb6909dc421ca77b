package lambic.runtime;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Set;

/** Why a function cannot be called, in AWS's words; and how errors are told to callers and to the log. */
final class Failure extends RuntimeException {
    private static final long serialVersionUID = 1;
    private static final String OURS = Failure.class.getPackage().getName() + ".";

    private final String type;
    private final String trace;
    /** Whether it is one of the initialization. Others are told to each caller. */
    final boolean isFatal;

    Failure(String message, String type, String trace, boolean isFatal) {
        super(message, null, false, false);
        this.type = type;
        this.trace = trace;
        this.isFatal = isFatal;
    }

    Failure(String message) {
        this(message, null, null, false);
    }

    /** Of an error that somebody else has thrown. */
    static Failure of(Throwable error, boolean isFatal) {
        return error instanceof Failure ? (Failure) error : new Failure(message(error), error.getClass().getName(), trace(error), isFatal);
    }

    /** The class is there, but cannot be loaded. */
    static Failure ofLoading(Throwable error, String name, boolean isFatal) {
        String more = error.getMessage() == null ? "" : ": " + error.getMessage();
        return new Failure("Error loading class " + name + more, error.getClass().getName(), trace(error), isFatal);
    }

    private static String message(Throwable error) {
        String message = error.getLocalizedMessage();
        return message == null ? error.getClass().getName() : message;
    }

    static String trace(Throwable error) {
        StringWriter text = new StringWriter();
        trimmed(error).printStackTrace(new PrintWriter(text, true));
        return text.toString();
    }

    /** As the log has it. */
    String told() {
        if (type == null && trace == null) {
            return getMessage() + "\n";
        }
        return getMessage() + ": " + (type == null ? "" : type) + "\n" + (trace == null ? "" : trace) + "\n";
    }

    /** What the caller gets. */
    static byte[] document(Throwable error) {
        StringBuilder out = new StringBuilder("{\"errorMessage\":");
        if (error instanceof Failure) {
            Failure failure = (Failure) error;
            Json.text(out, failure.getMessage());
            if (failure.type != null) {
                Json.text(out.append(",\"errorType\":"), failure.type);
            }
        } else {
            Json.text(out, message(error));
            Json.text(out.append(",\"errorType\":"), error.getClass().getName());
            out.append(",\"stackTrace\":[");
            String between = "";
            for (StackTraceElement frame : error.getStackTrace()) {
                Json.text(out.append(between), frame.toString());
                between = ",";
            }
            out.append(']');
        }
        return out.append('}').toString().getBytes(StandardCharsets.UTF_8);
    }

    /** The same error without what this client did on the way to the function. */
    static <T extends Throwable> T trimmed(T error) {
        trim(error, Collections.newSetFromMap(new IdentityHashMap<Throwable, Boolean>()));
        return error;
    }

    private static void trim(Throwable error, Set<Throwable> seen) {
        if (error == null || !seen.add(error)) {
            return;
        }
        StackTraceElement[] frames = error.getStackTrace();
        for (int at = 0; at < frames.length; at++) {
            if (frames[at].getClassName().startsWith(OURS)) {
                StackTraceElement[] kept = new StackTraceElement[at];
                System.arraycopy(frames, 0, kept, 0, at);
                error.setStackTrace(kept);
                break;
            }
        }
        trim(error.getCause(), seen);
        for (Throwable suppressed : error.getSuppressed()) {
            trim(suppressed, seen);
        }
    }
}
