// Tiny networks by libfann: lines of JSON like those of examples/rates.rs.
//     cc -O3 -march=native libfann.c -lfann -lm -o libfann
#include <fann.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void latency(const char *name, unsigned layers, unsigned *widths, int hidden, int output, int inner) {
    struct fann *net = fann_create_standard_array(layers, widths);
    fann_set_activation_function_hidden(net, hidden);
    fann_set_activation_function_output(net, output);
    static double took[1000];
    static float x[784];
    volatile float sum = 0;
    for (unsigned i = 0; i < widths[0]; i++) x[i] = rand() / (float)RAND_MAX;
    for (int i = 0; i < 200; i++) sum += fann_run(net, x)[0];
    for (int i = 0; i < 1000; i++) {
        double start = now();
        for (int j = 0; j < inner; j++) sum += fann_run(net, x)[0];
        took[i] = (now() - start) / inner;
    }
    qsort(took, 1000, sizeof *took, order);
    printf("{\"kind\":\"net\",\"impl\":\"libfann\",\"net\":\"%s\",\"p50_ns\":%.0f,\"p99_ns\":%.0f,\"min_ns\":%.0f}\n", name, took[500], took[990], took[0]);
    fann_destroy(net);
}

static void training(unsigned *widths, unsigned rows, int algorithm, const char *name) {
    struct fann *net = fann_create_standard_array(4, widths);
    struct fann_train_data *data = fann_create_train(rows, widths[0], widths[3]);
    fann_set_activation_function_hidden(net, FANN_LINEAR_PIECE);
    fann_set_activation_function_output(net, FANN_SIGMOID);
    fann_set_training_algorithm(net, algorithm);
    for (unsigned i = 0; i < rows; i++) {
        for (unsigned j = 0; j < widths[0]; j++) data->input[i][j] = rand() / (float)RAND_MAX;
        for (unsigned j = 0; j < widths[3]; j++) data->output[i][j] = j == i % widths[3];
    }
    fann_train_epoch(net, data);
    double start = now();
    clock_t cpu = clock();
    fann_train_epoch(net, data);
    double rate = rows / (now() - start) * 1e9, cpu_rate = rows / ((double)(clock() - cpu) / CLOCKS_PER_SEC);
    printf("{\"kind\":\"train\",\"impl\":\"libfann %s\",\"net\":\"784-128-64-10\",\"samples_s\":%.0f,\"samples_cpu_s\":%.0f}\n", name, rate, cpu_rate);
    fann_destroy(net);
    fann_destroy_train(data);
}

int main(void) {
    unsigned wide[] = {784, 128, 64, 10}, narrow[] = {4, 8, 3};
    latency("784-128-64-10 linear piece", 4, wide, FANN_LINEAR_PIECE, FANN_LINEAR, 1);
    latency("784-128-64-10 sigmoid", 4, wide, FANN_SIGMOID, FANN_LINEAR, 1);
    latency("4-8-3 sigmoid", 3, narrow, FANN_SIGMOID, FANN_SIGMOID, 100);
    latency("4-8-3 linear piece", 3, narrow, FANN_LINEAR_PIECE, FANN_LINEAR_PIECE, 100);
    training(wide, 2048, FANN_TRAIN_INCREMENTAL, "incremental");
    training(wide, 2048, FANN_TRAIN_RPROP, "rprop");
}
