package lambic.rehearsal;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;

/** A handler that fails. */
public class Throwing implements RequestHandler<Object, Object> {
    @Override
    public Object handleRequest(Object event, Context context) {
        throw new IllegalStateException("rehearsal", new RuntimeException("cause"));
    }
}
