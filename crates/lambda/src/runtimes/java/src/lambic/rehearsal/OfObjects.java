package lambic.rehearsal;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** A handler with types of its own, and a method that is one. */
public class OfObjects implements RequestHandler<OfObjects.Event, OfObjects.Answer> {
    /** What comes. */
    public static class Event {
        private String name;
        private int count;
        private Nested nested;

        public String getName() {
            return name;
        }

        public void setName(String name) {
            this.name = name;
        }

        public int getCount() {
            return count;
        }

        public void setCount(int count) {
            this.count = count;
        }

        public Nested getNested() {
            return nested;
        }

        public void setNested(Nested nested) {
            this.nested = nested;
        }
    }

    /** What is in it. */
    public static class Nested {
        private List<Object> list;

        public List<Object> getList() {
            return list;
        }

        public void setList(List<Object> list) {
            this.list = list;
        }
    }

    /** What goes. */
    public static class Answer {
        private final int statusCode;
        private final String body;
        private final Map<String, String> headers = Collections.singletonMap("a", "b");

        Answer(int statusCode, String body) {
            this.statusCode = statusCode;
            this.body = body;
        }

        public int getStatusCode() {
            return statusCode;
        }

        public String getBody() {
            return body;
        }

        public Map<String, String> getHeaders() {
            return headers;
        }
    }

    @Override
    public Answer handleRequest(Event event, Context context) {
        context.getLogger().log("event " + event.getName());
        return new Answer(event.getCount(), event.getName() + event.getNested().getList());
    }

    public Answer take(Event event, Context context) {
        return handleRequest(event, context);
    }
}
