// Tiny networks by ONNX Runtime's C interface, called from C: lines of JSON like those of examples/rates.rs.
//     cc -O3 -march=native onnxruntime.c -ldl -o onnxruntime
//     onnxruntime LIBRARY MODEL NAME INPUTS OUTPUTS
// peers.py runs it on the library inside its wheel. That has no header; functions are called by their place in OrtApi, which
// only ever grows at its end (the places are those of the `ort-sys` crate's bindings, 2.0.0-rc.10).
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct base { const void *const *(*get)(uint32_t version); };
static const void *const *api;
enum { MESSAGE = 2, ENV = 3, SESSION = 7, RUN = 9, OPTIONS = 10, INTRA = 24, INTER = 25, TENSOR = 49, MEMORY = 69, RUN_BOUND = 133, BINDING = 134, BIND_INPUT = 136, BIND_OUTPUT = 137 };
#define CALL(place, ...) check(((void *(*)())api[place])(__VA_ARGS__))

static void check(void *status) {
    if (status) {
        fprintf(stderr, "%s\n", ((const char *(*)(void *))api[MESSAGE])(status));
        exit(1);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *session, *binding, *x, *y;

static void run(void) {
    static const char *inputs[] = {"x"}, *outputs[] = {"y"};
    const void *in[] = {x};
    CALL(RUN, session, (void *)0, inputs, in, (size_t)1, outputs, (size_t)1, &y);
}

static void run_bound(void) { CALL(RUN_BOUND, session, (void *)0, binding); }

static void latency(const char *impl, const char *name, void (*call)(void)) {
    static double took[1000];
    for (int i = 0; i < 200; i++) call();
    for (int i = 0; i < 1000; i++) {
        double start = now();
        call();
        took[i] = now() - start;
    }
    qsort(took, 1000, sizeof *took, order);
    printf("{\"kind\":\"net\",\"impl\":\"%s\",\"net\":\"%s\",\"p50_ns\":%.0f,\"p99_ns\":%.0f,\"min_ns\":%.0f}\n", impl, name, took[500], took[990], took[0]);
}

static void *tensor(void *memory, float *values, int64_t width) {
    int64_t shape[] = {1, width};
    void *value;
    CALL(TENSOR, memory, values, (size_t)width * sizeof *values, shape, (size_t)2, 1 /* float */, &value);
    return value;
}

int main(int count, char **word) {
    if (count != 6) return 2;
    void *library = dlopen(word[1], RTLD_NOW);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    struct base *(*get_base)(void) = (struct base * (*)(void)) dlsym(library, "OrtGetApiBase");
    api = get_base()->get(17);
    void *env, *options, *memory;
    CALL(ENV, 3 /* errors */, "bench", &env);
    CALL(OPTIONS, &options);
    CALL(INTRA, options, 1);
    CALL(INTER, options, 1);
    CALL(SESSION, env, word[2], options, &session);
    CALL(MEMORY, 1 /* arena */, 0 /* default */, &memory);
    static float in[1024], out[1024];
    int64_t inputs = atoi(word[4]), outputs = atoi(word[5]);
    if (inputs > 1024 || outputs > 1024) return 2;
    for (int i = 0; i < inputs; i++) in[i] = rand() / (float)RAND_MAX;
    x = tensor(memory, in, inputs);
    y = tensor(memory, out, outputs);
    latency("onnxruntime C run", word[3], run);
    CALL(BINDING, session, &binding);
    CALL(BIND_INPUT, binding, "x", x);
    CALL(BIND_OUTPUT, binding, "y", y);
    latency("onnxruntime C bound", word[3], run_bound);
    fprintf(stderr, "first output %g\n", out[0]);
    return 0;
}
