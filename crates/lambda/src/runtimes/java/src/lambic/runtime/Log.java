package lambic.runtime;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;

/**
 * The logger of functions, and of this client.
 *
 * <p>Each message is a record. It is sent as a frame on standard output, so that one of several lines stays
 * one and keeps its place among what is printed; see the platform's side, lines.rs.
 */
final class Log implements LambdaLogger {
    private static final int MAGIC = 0xa55a0000;
    private static final int HAS_TIME = 2;
    private static final int IS_TEXT = 1;
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);

    private final OutputStream out;
    private final boolean isJson;
    private final LogLevel least;
    private volatile String requestId;
    private volatile String tenantId;

    Log(OutputStream out, boolean isJson, LogLevel least) {
        this.out = out;
        this.isJson = isJson;
        this.least = least;
    }

    /** For whom the records are from now on. */
    void serve(String requestId, String tenantId) {
        this.requestId = requestId;
        this.tenantId = tenantId;
    }

    /** What this client has to say of an error. */
    void error(String message) {
        log(message, isJson ? LogLevel.ERROR : LogLevel.UNDEFINED);
    }

    @Override
    public void log(String message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(byte[] message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(String message, LogLevel level) {
        if (isWanted(level)) {
            String record = isJson ? record(message, level) : level == LogLevel.UNDEFINED ? String.valueOf(message) : "[" + level + "] " + message;
            write(record.getBytes(StandardCharsets.UTF_8), level);
        }
    }

    @Override
    public void log(byte[] message, LogLevel level) {
        if (isWanted(level)) {
            write(message == null ? "null".getBytes(StandardCharsets.UTF_8) : message, level);
        }
    }

    private boolean isWanted(LogLevel level) {
        return level == LogLevel.UNDEFINED || level.ordinal() >= least.ordinal();
    }

    private String record(String message, LogLevel level) {
        StringBuilder text = new StringBuilder("{\"timestamp\":");
        Json.text(text, TIME.format(Instant.now()));
        if (message != null) {
            Json.text(text.append(",\"message\":"), message);
        }
        Json.text(text.append(",\"level\":"), level.name());
        if (requestId != null) {
            Json.text(text.append(",\"AWSRequestId\":"), requestId);
        }
        if (tenantId != null) {
            Json.text(text.append(",\"tenantId\":"), tenantId);
        }
        return text.append("}\n").toString();
    }

    private void write(byte[] message, LogLevel level) {
        Instant now = Instant.now();
        ByteBuffer frame = ByteBuffer.allocate(16 + message.length);
        frame.putInt(MAGIC | level.ordinal() << 2 | HAS_TIME | (isJson ? 0 : IS_TEXT));
        frame.putInt(message.length);
        frame.putLong(now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000);
        frame.put(message);
        try {
            synchronized (this) {
                out.write(frame.array());
            }
        } catch (IOException gone) {
            // There is nobody to tell.
        }
    }
}
