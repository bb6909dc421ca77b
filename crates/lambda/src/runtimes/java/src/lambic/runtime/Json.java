package lambic.runtime;

import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import com.amazonaws.services.lambda.runtime.serialization.PojoSerializer;
import com.amazonaws.services.lambda.runtime.serialization.events.LambdaEventSerializers;
import com.amazonaws.services.lambda.runtime.serialization.factories.GsonFactory;
import com.amazonaws.services.lambda.runtime.serialization.factories.JacksonFactory;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Type;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.ServiceLoader;

/** Between JSON and objects, by AWS's own library, or by what the function brings. */
final class Json {
    private static final String SERVICE = "META-INF/services/com.amazonaws.services.lambda.runtime.CustomPojoSerializer";

    private final ClassLoader loader;
    private final CustomPojoSerializer own;
    private final Map<Type, PojoSerializer<Object>> known = new HashMap<>();
    private final Map<Type, PojoSerializer<Object>> knownToAndroid = new HashMap<>();

    /** @throws Failure when the function brings several of its own */
    Json(ClassLoader loader) {
        this.loader = loader;
        // Looking for itself takes a loader of services far longer.
        if (loader.getResource(SERVICE) == null) {
            own = null;
            return;
        }
        Iterator<CustomPojoSerializer> found = ServiceLoader.load(CustomPojoSerializer.class, loader).iterator();
        own = found.hasNext() ? found.next() : null;
        if (own != null && found.hasNext()) {
            throw new Failure(
                    "Too many serializers provided inside the META-INF/services folder, only one is allowed",
                    "com.amazonaws.services.lambda.runtime.api.client.TooManyServiceProvidersFoundException", null, false);
        }
    }

    /** What turns this type into JSON and back. AWS's mobile SDK for Android is spoken to in another dialect. */
    PojoSerializer<Object> of(Type type, boolean isAndroid) {
        Map<Type, PojoSerializer<Object>> cache = isAndroid ? knownToAndroid : known;
        PojoSerializer<Object> serializer = cache.get(type);
        if (serializer == null) {
            serializer = make(type, isAndroid);
            cache.put(type, serializer);
        }
        return serializer;
    }

    @SuppressWarnings("unchecked")
    private PojoSerializer<Object> make(final Type type, boolean isAndroid) {
        if (own != null) {
            return new Own(own, type);
        }
        if (type instanceof Class && LambdaEventSerializers.isLambdaSupportedEvent(((Class<?>) type).getName())) {
            return LambdaEventSerializers.serializerFor((Class<Object>) type, loader);
        }
        return isAndroid ? GsonFactory.getInstance().getSerializer(type) : JacksonFactory.getInstance().getSerializer(type);
    }

    private static final class Own implements PojoSerializer<Object> {
        private final CustomPojoSerializer own;
        private final Type type;

        Own(CustomPojoSerializer own, Type type) {
            this.own = own;
            this.type = type;
        }

        @Override
        public Object fromJson(InputStream input) {
            return own.fromJson(input, type);
        }

        @Override
        public Object fromJson(String input) {
            return own.fromJson(input, type);
        }

        @Override
        public void toJson(Object value, OutputStream output) {
            own.toJson(value, output, type);
        }
    }

    /** An object that the platform sends. */
    @SuppressWarnings("unchecked")
    static Map<String, Object> object(byte[] text) {
        return (Map<String, Object>) JacksonFactory.getInstance().getSerializer((Type) Map.class).fromJson(new ByteArrayInputStream(text));
    }

    /** Adds a text as JSON has it; {@code null} too. */
    static StringBuilder text(StringBuilder out, String text) {
        if (text == null) {
            return out.append("null");
        }
        out.append('"');
        for (int at = 0; at < text.length(); at++) {
            char each = text.charAt(at);
            if (each == '"' || each == '\\') {
                out.append('\\').append(each);
            } else if (each == '\n') {
                out.append("\\n");
            } else if (each == '\r') {
                out.append("\\r");
            } else if (each == '\t') {
                out.append("\\t");
            } else if (each < ' ' || each == '\u2028' || each == '\u2029') {
                out.append(String.format("\\u%04x", (int) each));
            } else {
                out.append(each);
            }
        }
        return out.append('"');
    }
}
