/*
 * What the Java runtime client needs of the system and Java does not offer: the working directory and the
 * environment variables of the process, and the stream that it inherits.
 *
 * A spare learns its function's when it runs already. Java reads the variables of its process once, when
 * they are first asked for; the client sets them here before that.
 *
 * Made without the headers of any Java, so that it can be built where there is none. The numbers are
 * places in JNI's table of functions, which are part of its specification.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void *const *const *Env;

enum { GET_ARRAY_LENGTH = 171, NEW_BYTE_ARRAY = 176, GET_BYTE_ARRAY_REGION = 200, SET_BYTE_ARRAY_REGION = 208 };

/* One thread speaks to the platform. */
static char piece[64 * 1024];

static int length_of(Env env, void *array) {
    return ((int (*)(Env, void *))(*env)[GET_ARRAY_LENGTH])(env, array);
}

static void copy_out(Env env, void *array, int from, int count, char *to) {
    ((void (*)(Env, void *, int, int, char *))(*env)[GET_BYTE_ARRAY_REGION])(env, array, from, count, to);
}

static void copy_in(Env env, void *array, int from, int count, const char *what) {
    ((void (*)(Env, void *, int, int, const char *))(*env)[SET_BYTE_ARRAY_REGION])(env, array, from, count, what);
}

/* The bytes of an array with a zero after them; to be freed by whoever gets them. */
static char *text_of(Env env, void *array) {
    int length = length_of(env, array);
    char *text = malloc((size_t)length + 1);
    if (text) {
        copy_out(env, array, 0, length, text);
        text[length] = 0;
    }
    return text;
}

/* static native int enter(byte[] folder): 0, or what went wrong. */
int Java_lambic_runtime_Native_enter(Env env, void *class, void *folder) {
    char *path = text_of(env, folder);
    int error = !path ? ENOMEM : chdir(path) ? errno : 0;
    free(path);
    return error;
}

/* static native byte[] variable(byte[] name): its value, or null. */
void *Java_lambic_runtime_Native_variable(Env env, void *class, void *name) {
    char *text = text_of(env, name);
    const char *value = text ? getenv(text) : NULL;
    free(text);
    if (!value) return NULL;
    int length = (int)strlen(value);
    void *array = ((void *(*)(Env, int))(*env)[NEW_BYTE_ARRAY])(env, length);
    if (array) copy_in(env, array, 0, length, value);
    return array;
}

/* static native void forget(byte[] name) */
void Java_lambic_runtime_Native_forget(Env env, void *class, void *name) {
    char *text = text_of(env, name);
    if (text) unsetenv(text);
    free(text);
}

/* static native void become(byte[] variables): NAME=value, each with a zero after it, instead of those
 * that there are. What they are kept in stays for ever. */
void Java_lambic_runtime_Native_become(Env env, void *class, void *variables) {
    int length = length_of(env, variables);
    char *text = text_of(env, variables);
    if (!text) return;
    clearenv();
    for (char *each = text; each < text + length; each += strlen(each) + 1) putenv(each);
}

/* static native void keep(int fd): children do not inherit it. */
void Java_lambic_runtime_Native_keep(Env env, void *class, int fd) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* static native int read(int fd, byte[] into, int from, int count): 0 at the end, negative when it broke. */
int Java_lambic_runtime_Native_read(Env env, void *class, int fd, void *into, int from, int count) {
    size_t most = (size_t)count < sizeof piece ? (size_t)count : sizeof piece;
    ssize_t got;
    do got = read(fd, piece, most);
    while (got < 0 && errno == EINTR);
    if (got > 0) copy_in(env, into, from, (int)got, piece);
    return (int)got;
}

/* static native boolean write(int fd, byte[] what, int count): whether all of it went. */
unsigned char Java_lambic_runtime_Native_write(Env env, void *class, int fd, void *what, int count) {
    int done = 0;
    while (done < count) {
        int most = count - done < (int)sizeof piece ? count - done : (int)sizeof piece;
        copy_out(env, what, done, most, piece);
        for (int sent = 0; sent < most;) {
            ssize_t now = write(fd, piece + sent, (size_t)(most - sent));
            if (now < 0 && errno == EINTR) continue;
            if (now < 0) return 0;
            sent += (int)now;
        }
        done += most;
    }
    return 1;
}
