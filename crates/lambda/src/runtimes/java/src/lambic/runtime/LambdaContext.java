package lambic.runtime;

import com.amazonaws.services.lambda.runtime.Client;
import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/** What a handler gets as its context. */
final class LambdaContext implements Context {
    private final Variables variables;
    private final Map<String, String> headers;
    private final LambdaLogger logger;
    private final long deadlineMs;
    private final ClientContext client;
    private final CognitoIdentity identity;

    /** What of it is the same for all invocations. */
    static final class Variables {
        final String name = System.getenv("AWS_LAMBDA_FUNCTION_NAME");
        final String version = System.getenv("AWS_LAMBDA_FUNCTION_VERSION");
        final String logGroup = System.getenv("AWS_LAMBDA_LOG_GROUP_NAME");
        final String logStream = System.getenv("AWS_LAMBDA_LOG_STREAM_NAME");
        final int memoryMb = memory(System.getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));

        private static int memory(String text) {
            return text == null ? 128 : Integer.parseInt(text);
        }
    }

    LambdaContext(Variables variables, Map<String, String> headers, LambdaLogger logger) {
        this.variables = variables;
        this.headers = headers;
        this.logger = logger;
        String deadline = headers.get("lambda-runtime-deadline-ms");
        deadlineMs = deadline == null ? 0 : Long.parseLong(deadline);
        Map<String, Object> told = object("lambda-runtime-client-context");
        client = told == null ? null : new ToldClientContext(told);
        Map<String, Object> who = object("lambda-runtime-cognito-identity");
        identity = who == null ? null : new ToldIdentity(who);
    }

    private Map<String, Object> object(String name) {
        String text = headers.get(name);
        return text == null || text.isEmpty() ? null : Json.object(text.getBytes(StandardCharsets.UTF_8));
    }

    /** Whether the caller is AWS's mobile SDK for Android. */
    boolean isFromAndroid() {
        Map<String, String> environment = client == null ? null : client.getEnvironment();
        return environment != null && "Android".equalsIgnoreCase(environment.get("platform"));
    }

    @Override
    public String getAwsRequestId() {
        return headers.get("lambda-runtime-aws-request-id");
    }

    @Override
    public String getLogGroupName() {
        return variables.logGroup;
    }

    @Override
    public String getLogStreamName() {
        return variables.logStream;
    }

    @Override
    public String getFunctionName() {
        return variables.name;
    }

    @Override
    public String getFunctionVersion() {
        return variables.version;
    }

    @Override
    public String getInvokedFunctionArn() {
        return headers.get("lambda-runtime-invoked-function-arn");
    }

    @Override
    public CognitoIdentity getIdentity() {
        return identity;
    }

    @Override
    public ClientContext getClientContext() {
        return client;
    }

    @Override
    public int getRemainingTimeInMillis() {
        return (int) Math.max(0, deadlineMs - System.currentTimeMillis());
    }

    @Override
    public int getMemoryLimitInMB() {
        return variables.memoryMb;
    }

    @Override
    public LambdaLogger getLogger() {
        return logger;
    }

    @Override
    public String getTenantId() {
        return headers.get("lambda-runtime-aws-tenant-id");
    }

    @Override
    public String getXrayTraceId() {
        return headers.get("lambda-runtime-trace-id");
    }

    private static String text(Map<?, ?> object, String name) {
        Object value = object.get(name);
        return value == null ? null : value.toString();
    }

    private static Map<String, String> texts(Object object) {
        if (!(object instanceof Map)) {
            return null;
        }
        Map<String, String> texts = new LinkedHashMap<>();
        for (Map.Entry<?, ?> each : ((Map<?, ?>) object).entrySet()) {
            texts.put(String.valueOf(each.getKey()), each.getValue() == null ? null : each.getValue().toString());
        }
        return texts;
    }

    private static final class ToldIdentity implements CognitoIdentity {
        private final Map<String, Object> told;

        ToldIdentity(Map<String, Object> told) {
            this.told = told;
        }

        @Override
        public String getIdentityId() {
            return text(told, "cognitoIdentityId");
        }

        @Override
        public String getIdentityPoolId() {
            return text(told, "cognitoIdentityPoolId");
        }
    }

    private static final class ToldClientContext implements ClientContext {
        private final Map<String, String> custom;
        private final Map<String, String> environment;
        private final Client client;

        ToldClientContext(Map<String, Object> told) {
            custom = texts(told.get("custom"));
            environment = texts(told.get("env"));
            Object client = told.get("client");
            this.client = client instanceof Map ? new ToldClient((Map<?, ?>) client) : null;
        }

        @Override
        public Client getClient() {
            return client;
        }

        @Override
        public Map<String, String> getCustom() {
            return custom;
        }

        @Override
        public Map<String, String> getEnvironment() {
            return environment;
        }
    }

    private static final class ToldClient implements Client {
        private final Map<?, ?> told;

        ToldClient(Map<?, ?> told) {
            this.told = Collections.unmodifiableMap(told);
        }

        @Override
        public String getInstallationId() {
            return text(told, "installation_id");
        }

        @Override
        public String getAppTitle() {
            return text(told, "app_title");
        }

        @Override
        public String getAppVersionName() {
            return text(told, "app_version_name");
        }

        @Override
        public String getAppVersionCode() {
            return text(told, "app_version_code");
        }

        @Override
        public String getAppPackageName() {
            return text(told, "app_package_name");
        }
    }
}
