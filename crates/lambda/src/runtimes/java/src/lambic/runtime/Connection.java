package lambic.runtime;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** HTTP/1.1 to the Runtime API, one request at a time. */
final class Connection {
    /** The platform has closed the connection, or wants no more of us: this environment is over. */
    static final class Closed extends RuntimeException {
        private static final long serialVersionUID = 1;

        Closed() {
            super(null, null, false, false);
        }
    }

    /** What came. */
    static final class Answer {
        final int status;
        /** By their names in lower case. */
        final Map<String, String> headers;
        final byte[] body;

        Answer(int status, Map<String, String> headers, byte[] body) {
            this.status = status;
            this.headers = headers;
            this.body = body;
        }
    }

    private static final String API = "/2018-06-01/runtime/";
    private static final int HEAD_BYTES_MAX = 1 << 20;
    private static final int CHUNK_BYTES = 1 << 16;

    private final Wire wire;
    private byte[] read = new byte[CHUNK_BYTES];
    private int from;
    private int to;
    private String common = "Host: lambic\r\n\r\n";
    private byte[] next;
    /** Whether the next event has been asked for, with an answer that is still to be confirmed. */
    private boolean hasAsked;
    private final Bytes out = new Bytes();

    /** Gives its buffer away without copying it. */
    private static final class Bytes extends ByteArrayOutputStream {
        Bytes() {
            super(4096);
        }

        byte[] buffer() {
            return buf;
        }
    }

    Connection(Wire wire) {
        this.wire = wire;
    }

    /** Where we say that we speak to. */
    void begin(String host) {
        common = "Host: " + host + "\r\nUser-Agent: lambic-java/" + System.getProperty("java.version") + "\r\n";
        next = bytes("GET " + API + "invocation/next HTTP/1.1\r\n" + common + "\r\n");
    }

    /** Waits until there is a function; what this process becomes. */
    byte[] become() {
        byte[] ask = bytes("GET /lambic/become HTTP/1.1\r\nHost: lambic\r\n\r\n");
        send(ask, ask.length);
        return expected(receive()).body;
    }

    /** The next event. */
    Answer next() {
        if (hasAsked) {
            hasAsked = false;
            // Whether the answer was accepted or came too late makes no difference here.
            receive();
        } else {
            send(next, next.length);
        }
        return expected(receive());
    }

    /** Sends what a handler has returned. */
    void respond(String id, byte[] body, int length) {
        post("invocation/" + id + "/response", "Content-Type: application/json\r\n", body, length, true);
    }

    /** Tells an error of an invocation. */
    void fail(String id, String type, byte[] body, boolean goesOn) {
        post("invocation/" + id + "/error", kind(type), body, body.length, goesOn);
    }

    /** Tells why there is no handler. */
    void failInit(String type, byte[] body) {
        post("init/error", kind(type), body, body.length, false);
    }

    private static String kind(String type) {
        return "Lambda-Runtime-Function-Error-Type: " + type + "\r\nContent-Type: application/json\r\n";
    }

    private void post(String path, String more, byte[] body, int length, boolean goesOn) {
        out.reset();
        byte[] head = bytes("POST " + API + path + " HTTP/1.1\r\n" + common + more + "Content-Length: " + length + "\r\n\r\n");
        out.write(head, 0, head.length);
        if (length < CHUNK_BYTES / 2) {
            out.write(body, 0, length);
            hasAsked = goesOn;
            if (goesOn) {
                out.write(next, 0, next.length);
            }
            send(out.buffer(), out.size());
        } else {
            send(out.buffer(), out.size());
            send(body, length);
        }
        if (!hasAsked) {
            receive();
        }
    }

    private void send(byte[] what, int count) {
        if (!wire.write(what, count)) {
            throw new Closed();
        }
    }

    private static Answer expected(Answer answer) {
        if (answer.status != 200) {
            throw new Closed();
        }
        return answer;
    }

    private Answer receive() {
        int end = endOfHead();
        String[] lines = new String(read, from, end - from, StandardCharsets.UTF_8).split("\r\n");
        Map<String, String> headers = new HashMap<>();
        for (int at = 1; at < lines.length; at++) {
            int colon = lines[at].indexOf(':');
            if (colon > 0) {
                headers.put(lines[at].substring(0, colon).toLowerCase(Locale.ROOT), lines[at].substring(colon + 1).trim());
            }
        }
        from = end + 4;
        String length = headers.get("content-length");
        byte[] body = new byte[length == null ? 0 : Integer.parseInt(length)];
        int filled = Math.min(body.length, to - from);
        System.arraycopy(read, from, body, 0, filled);
        from += filled;
        while (filled < body.length) {
            int got = wire.read(body, filled, body.length - filled);
            if (got <= 0) {
                throw new Closed();
            }
            filled += got;
        }
        int status = lines[0].length() < 12 ? 0 : Integer.parseInt(lines[0].substring(9, 12));
        return new Answer(status, headers, body);
    }

    /** Reads until a head is whole; where the empty line after it is. */
    private int endOfHead() {
        int looked = from;
        while (true) {
            for (int at = looked; at + 4 <= to; at++) {
                if (read[at] == '\r' && read[at + 1] == '\n' && read[at + 2] == '\r' && read[at + 3] == '\n') {
                    return at;
                }
            }
            looked = Math.max(from, to - 3) - from;
            makeRoom();
            looked += from;
            int got = wire.read(read, to, read.length - to);
            if (got <= 0) {
                throw new Closed();
            }
            to += got;
        }
    }

    /** What has been read begins at the front, and there is room behind it. */
    private void makeRoom() {
        int left = to - from;
        if (left > HEAD_BYTES_MAX) {
            throw new Closed();
        }
        byte[] into = left < read.length ? read : new byte[read.length * 2];
        System.arraycopy(read, from, into, 0, left);
        read = into;
        from = 0;
        to = left;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
