package lambic.runtime;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/**
 * Finds a function's handler and makes it callable with JSON.
 *
 * <p>What stands in the way is, as on AWS, told to each caller; only what the function's own code throws
 * while it is loaded ends the initialization.
 */
final class Handlers {
    /** A handler. */
    interface Call {
        void run(ByteArrayInputStream in, ByteArrayOutputStream out, LambdaContext context) throws Throwable;
    }

    private static final byte[] NULL = {'n', 'u', 'l', 'l'};

    private final ClassLoader loader;
    private final Json json;

    private Handlers(ClassLoader loader, Json json) {
        this.loader = loader;
        this.json = json;
    }

    /**
     * The handler by this name, {@code package.Class} or {@code package.Class::method}.
     *
     * @throws Failure of the initialization
     */
    static Call find(String handler, ClassLoader loader) {
        try {
            return new Handlers(loader, new Json(loader)).find(handler);
        } catch (Failure failure) {
            if (failure.isFatal) {
                throw failure;
            }
            return failing(failure);
        }
    }

    private static Call failing(final Failure failure) {
        return new Call() {
            @Override
            public void run(ByteArrayInputStream in, ByteArrayOutputStream out, LambdaContext context) {
                throw failure;
            }
        };
    }

    private Call find(String handler) {
        int colons = handler.lastIndexOf("::");
        String name = colons < 0 ? handler : handler.substring(0, colons);
        String method = colons < 0 ? null : handler.substring(colons + 2);
        if (name.isEmpty() || method != null && method.isEmpty()) {
            throw new Failure("Invalid handler: `" + handler + "'");
        }
        Class<?> found;
        try {
            found = Class.forName(name, true, loader);
        } catch (ClassNotFoundException absent) {
            throw new Failure("Class not found: " + name, absent.getClass().getName(), Failure.trace(absent), false);
        } catch (NoClassDefFoundError incomplete) {
            throw Failure.ofLoading(incomplete, name, false);
        } catch (Throwable thrown) {
            throw Failure.ofLoading(thrown, name, true);
        }
        return method == null ? ofClass(found) : ofMethod(found, method);
    }

    // ---- Classes with one of AWS's interfaces ------------------------------------------------------

    private Call ofClass(Class<?> type) {
        if (RequestStreamHandler.class.isAssignableFrom(type)) {
            final RequestStreamHandler handler = (RequestStreamHandler) made(type);
            return new Call() {
                @Override
                public void run(ByteArrayInputStream in, ByteArrayOutputStream out, LambdaContext context) throws Throwable {
                    handler.handleRequest(in, out, context);
                }
            };
        }
        if (!RequestHandler.class.isAssignableFrom(type)) {
            throw new Failure("Class does not implement an appropriate handler interface: " + type.getName());
        }
        Type[] types = Types.ofInterface(type, RequestHandler.class);
        String generic = "Class " + type.getName() + " does not implement RequestHandler with concrete type parameters";
        if (types == null) {
            throw new Failure(generic);
        }
        for (Type each : types) {
            if (each instanceof TypeVariable && !Types.isBounded((TypeVariable<?>) each)) {
                throw new Failure(generic + ": parameter " + each + " has no upper bound.");
            }
        }
        @SuppressWarnings("unchecked")
        final RequestHandler<Object, Object> handler = (RequestHandler<Object, Object>) made(type);
        return new OfObjects(types[0], types[1]) {
            @Override
            Object call(Object input, Context context) {
                return handler.handleRequest(input, context);
            }
        };
    }

    /** An object of a class. */
    private static Object made(Class<?> type) {
        Constructor<?> constructor;
        try {
            constructor = type.getConstructor();
        } catch (NoSuchMethodException absent) {
            boolean isInner = type.getEnclosingClass() != null && !Modifier.isStatic(type.getModifiers());
            String why = isInner ? " cannot be instantiated because it is a non-static inner class" : " has no public zero-argument constructor";
            throw Failure.of(new Exception("Class " + type.getName() + why, isInner ? null : absent), false);
        }
        try {
            return constructor.newInstance();
        } catch (InvocationTargetException thrown) {
            throw Failure.of(thrown.getCause() == null ? thrown : thrown.getCause(), true);
        } catch (Throwable refused) {
            throw Failure.of(refused, false);
        }
    }

    // ---- Methods -----------------------------------------------------------------------------------

    private Call ofMethod(Class<?> type, String name) {
        List<Method> methods = new ArrayList<>();
        try {
            for (Method method : type.getMethods()) {
                if (method.getName().equals(name)) {
                    methods.add(method);
                }
            }
        } catch (NoClassDefFoundError incomplete) {
            String message = "Error loading method " + name + " on class " + type.getName();
            throw new Failure(message, incomplete.getClass().getName(), Failure.trace(incomplete), false);
        }
        Collections.sort(methods, BEST_FIRST);
        for (Method method : methods) {
            Call call = ofOverload(type, method);
            if (call != null) {
                return call;
            }
        }
        throw new Failure("No public method named " + name + " with appropriate method signature found on class " + type.getName());
    }

    /** As AWS chooses: what the compiler adds comes last, then more parameters win, and a context counts twice. */
    private static final Comparator<Method> BEST_FIRST = new Comparator<Method>() {
        @Override
        public int compare(Method one, Method other) {
            int bridges = Boolean.compare(one.isBridge(), other.isBridge());
            return bridges != 0 ? bridges : Integer.compare(weight(other), weight(one));
        }

        private int weight(Method method) {
            Class<?>[] types = method.getParameterTypes();
            return types.length + (types.length > 0 && types[types.length - 1] == Context.class ? 1 : 0);
        }
    };

    /** {@code null} if it has other parameters than handlers may have. */
    private Call ofOverload(Class<?> type, Method method) {
        Type[] types = method.getGenericParameterTypes();
        int count = types.length;
        boolean hasContext = count > 0 && types[count - 1] == Context.class;
        int plain = hasContext ? count - 1 : count;
        boolean hasInput = plain > 0 && types[0] == InputStream.class;
        boolean hasOutput = plain > 0 && types[plain - 1] == OutputStream.class;
        boolean isOfStreams = (hasInput || hasOutput) && plain == (hasInput ? 1 : 0) + (hasOutput ? 1 : 0);
        if (isOfStreams) {
            return ofStreams(type, method, hasInput, hasOutput, hasContext);
        }
        boolean isOfObjects = plain <= 1 && count <= 2 && (plain == 0 || types[0] != Context.class);
        if (isOfObjects) {
            return ofObjects(type, method, plain == 1 ? types[0] : null, hasContext);
        }
        ignored(method, types);
        return null;
    }

    private static void ignored(Method method, Type[] types) {
        String why = types.length > 3
                ? "Ignoring an overload of method " + method.getName() + " because it has too many parameters: Expected at most 3, got " + types.length
                : types.length == 3
                        ? "Ignoring three-argument overload because argument signature is not (InputStream, OutputStream, Context"
                        : types[0] == Context.class
                                ? "Ignoring two-argument overload because first argument type is Context"
                                : types[0] == OutputStream.class
                                        ? "Ignoring two-argument overload because first argument type is OutputStream and second argument type is not Context"
                                        : types[0] == InputStream.class
                                                ? "Ignoring two-argument overload because second parameter type, " + method.getParameterTypes()[1].getName()
                                                        + ", is not OutputStream."
                                                : "Ignoring two-argument overload because second parameter type is not Context";
        System.err.println(why);
    }

    private Call ofStreams(Class<?> type, final Method method, final boolean hasInput, final boolean hasOutput, final boolean hasContext) {
        if (!isVoid(method.getReturnType())) {
            System.err.println("Will ignore return type " + method.getReturnType() + " on byte stream handler");
        }
        final Object target = Modifier.isStatic(method.getModifiers()) ? null : made(type);
        return new Call() {
            @Override
            public void run(ByteArrayInputStream in, ByteArrayOutputStream out, LambdaContext context) throws Throwable {
                List<Object> arguments = new ArrayList<>(3);
                if (hasInput) {
                    arguments.add(in);
                }
                if (hasOutput) {
                    arguments.add(out);
                }
                if (hasContext) {
                    arguments.add(context);
                }
                invoke(method, target, arguments.toArray());
                if (!hasOutput) {
                    out.write(NULL, 0, NULL.length);
                }
            }
        };
    }

    private Call ofObjects(Class<?> type, final Method method, final Type input, final boolean hasContext) {
        final Object target = Modifier.isStatic(method.getModifiers()) ? null : made(type);
        return new OfObjects(input, method.getGenericReturnType()) {
            @Override
            Object call(Object event, Context context) throws Throwable {
                if (input == null) {
                    return hasContext ? invoke(method, target, context) : invoke(method, target);
                }
                return hasContext ? invoke(method, target, event, context) : invoke(method, target, event);
            }
        };
    }

    private static Object invoke(Method method, Object target, Object... arguments) throws Throwable {
        try {
            return method.invoke(target, arguments);
        } catch (InvocationTargetException thrown) {
            throw thrown.getCause() == null ? thrown : thrown.getCause();
        }
    }

    private static boolean isVoid(Type type) {
        return type == Void.TYPE || type == Void.class;
    }

    /** A handler that takes and returns objects. */
    private abstract class OfObjects implements Call {
        private final Type input;
        private final Type output;

        /** Without an input type the event is not looked at; what is void answers {@code null}. */
        OfObjects(Type input, Type output) {
            this.input = input;
            this.output = isVoid(output) ? null : output;
            // What cannot be made JSON is told before the first event.
            if (input != null) {
                json.of(input, false);
            }
            if (this.output != null) {
                json.of(this.output, false);
            }
        }

        abstract Object call(Object input, Context context) throws Throwable;

        @Override
        public void run(ByteArrayInputStream in, ByteArrayOutputStream out, LambdaContext context) throws Throwable {
            boolean isAndroid = context.isFromAndroid();
            Object event = null;
            if (input != null) {
                try {
                    event = json.of(input, isAndroid).fromJson(in);
                } catch (Throwable thrown) {
                    throw new RuntimeException("An error occurred during JSON parsing", Failure.trimmed(thrown));
                }
            }
            Object result = call(event, context);
            if (output == null) {
                out.write(NULL, 0, NULL.length);
                return;
            }
            try {
                json.of(output, isAndroid).toJson(result, out);
            } catch (Throwable thrown) {
                throw new RuntimeException("An error occurred during JSON serialization of response", thrown);
            }
        }
    }
}
