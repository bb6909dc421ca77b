package lambic.rehearsal;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Map;

/** The handler of most functions that take no type of their own. */
public class OfMaps implements RequestHandler<Map<String, Object>, Object> {
    @Override
    public Object handleRequest(Map<String, Object> event, Context context) {
        context.getLogger().log("event " + event.get("name"));
        context.getRemainingTimeInMillis();
        return event;
    }
}
