import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.HashMap;
import java.util.Map;

/** The Java function that is measured: it adds one. */
public class Hello implements RequestHandler<Map<String, Object>, Map<String, Object>> {
    @Override
    public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
        Map<String, Object> answer = new HashMap<>();
        answer.put("ok", true);
        answer.put("n", ((Number) event.get("n")).intValue() + 1);
        return answer;
    }
}
