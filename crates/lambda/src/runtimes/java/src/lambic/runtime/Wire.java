package lambic.runtime;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;

/** Where bytes go to and come from. */
abstract class Wire {
    /** At least one byte; zero or less when there are no more. */
    abstract int read(byte[] into, int from, int count);

    /** Whether all went. */
    abstract boolean write(byte[] what, int count);

    /** The stream that this process inherited. */
    static Wire inherited(final int fd) {
        Native.keep(fd);
        return new Wire() {
            @Override
            int read(byte[] into, int from, int count) {
                return Native.read(fd, into, from, count);
            }

            @Override
            boolean write(byte[] what, int count) {
                return Native.write(fd, what, count);
            }
        };
    }

    /** A connection of our own. */
    static Wire connected(String address) throws IOException {
        int colon = address.lastIndexOf(':');
        Socket socket = new Socket(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1)));
        socket.setTcpNoDelay(true);
        final InputStream in = socket.getInputStream();
        final OutputStream out = socket.getOutputStream();
        return new Wire() {
            @Override
            int read(byte[] into, int from, int count) {
                try {
                    return in.read(into, from, count);
                } catch (IOException broken) {
                    return -1;
                }
            }

            @Override
            boolean write(byte[] what, int count) {
                try {
                    out.write(what, 0, count);
                    return true;
                } catch (IOException broken) {
                    return false;
                }
            }
        };
    }
}
