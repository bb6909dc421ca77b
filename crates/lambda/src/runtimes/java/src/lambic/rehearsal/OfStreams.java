package lambic.rehearsal;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;

/** A handler that reads and writes for itself. */
public class OfStreams implements RequestStreamHandler {
    @Override
    public void handleRequest(InputStream in, OutputStream out, Context context) throws IOException {
        byte[] buffer = new byte[1024];
        for (int count = in.read(buffer); count > 0; count = in.read(buffer)) {
            out.write(buffer, 0, count);
        }
    }
}
