package lambic.runtime;

import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.util.HashMap;
import java.util.Map;

/** What a class gives an interface for its type parameters. */
final class Types {
    private Types() {}

    /** {@code null} when it gives nothing. */
    static Type[] ofInterface(Class<?> type, Class<?> wanted) {
        return find(type, new HashMap<TypeVariable<?>, Type>(), wanted);
    }

    /** {@code known} are the parameters of {@code type}, as far as somebody has said them. */
    private static Type[] find(Class<?> type, Map<TypeVariable<?>, Type> known, Class<?> wanted) {
        for (Type each : type.getGenericInterfaces()) {
            Type[] found = look(each, known, wanted);
            if (found != null) {
                return found;
            }
        }
        Type parent = type.getGenericSuperclass();
        return parent == null ? null : look(parent, known, wanted);
    }

    private static Type[] look(Type type, Map<TypeVariable<?>, Type> known, Class<?> wanted) {
        if (type instanceof Class) {
            return find((Class<?>) type, new HashMap<TypeVariable<?>, Type>(), wanted);
        }
        ParameterizedType generic = (ParameterizedType) type;
        Class<?> raw = (Class<?>) generic.getRawType();
        Type[] given = generic.getActualTypeArguments();
        Map<TypeVariable<?>, Type> told = new HashMap<>();
        for (int at = 0; at < given.length; at++) {
            Type meant = known.get(given[at]);
            given[at] = meant == null ? given[at] : meant;
            told.put(raw.getTypeParameters()[at], given[at]);
        }
        return raw == wanted ? given : find(raw, told, wanted);
    }

    static boolean isBounded(TypeVariable<?> variable) {
        for (Type bound : variable.getBounds()) {
            if (bound != Object.class) {
                return true;
            }
        }
        return false;
    }
}
