// Networks as libfann 2.2.0 saves them, and what it says of inputs: for crates/fann/tests/goldens.
//     cargo run -p lattice-fann --example fann_text > crates/fann/tests/goldens/ours.net
//     cc fann_nets.c -o fann_nets -lfann -lm && ./fann_nets ../../fann/tests/goldens
#include <fann.h>
#include <stdio.h>

static const char *dir;
static char path[4096];

static const char *at(const char *name, const char *kind) {
    snprintf(path, sizeof path, "%s/%s.%s", dir, name, kind);
    return path;
}

// A line of inputs and outputs for each of 8 rows.
static void outputs(struct fann *net, const char *name) {
    FILE *file = fopen(at(name, "txt"), "w");
    unsigned in = fann_get_num_input(net), out = fann_get_num_output(net);
    for (int row = 0; row < 8; row++) {
        float x[16];
        for (unsigned i = 0; i < in; i++) {
            x[i] = ((row * 7 + i * 5) % 17) / 8.0f - 1.0f;
            fprintf(file, "%.9g ", x[i]);
        }
        float *y = fann_run(net, x);
        fprintf(file, "|");
        for (unsigned o = 0; o < out; o++) fprintf(file, " %.9g", y[o]);
        fprintf(file, "\n");
    }
    fclose(file);
}

static struct fann *net(float rate, int hidden, int output) {
    unsigned sizes[] = {3, 5, 4, 2};
    struct fann *net = rate < 1 ? fann_create_sparse_array(rate, 4, sizes) : fann_create_standard_array(4, sizes);
    unsigned left = 12345; // weights by a generator of our own: libfann's seeds itself by the clock
    struct fann_connection c[256];
    unsigned count = fann_get_total_connections(net);
    fann_get_connection_array(net, c);
    for (unsigned i = 0; i < count; i++) {
        left = left * 1664525u + 1013904223u;
        c[i].weight = (left >> 8) / 8388608.0f - 1.0f;
    }
    fann_set_weight_array(net, c, count);
    fann_set_activation_function_hidden(net, hidden);
    fann_set_activation_function_output(net, output);
    return net;
}

static void keep(struct fann *net, const char *name) {
    fann_save(net, at(name, "net"));
    outputs(net, name);
    fann_destroy(net);
}

int main(int argc, char **argv) {
    dir = argc > 1 ? argv[1] : ".";
    keep(net(1, FANN_SIGMOID_SYMMETRIC, FANN_SIGMOID), "symmetric");
    keep(net(1, FANN_SIGMOID, FANN_LINEAR), "linear");
    struct fann *steep = net(1, FANN_SIGMOID_SYMMETRIC, FANN_SIGMOID);
    for (int neuron = 0; neuron < 5; neuron++) fann_set_activation_steepness(steep, 0.3f + 0.2f * neuron, 1, neuron);
    fann_set_activation_steepness_output(steep, 0.75f);
    keep(steep, "steep");
    keep(net(0.5f, FANN_SIGMOID, FANN_SIGMOID), "sparse");
    keep(net(1, FANN_SIGMOID_STEPWISE, FANN_SIGMOID_STEPWISE), "stepwise");
    unsigned sizes[] = {3, 4, 2};
    keep(fann_create_shortcut_array(3, sizes), "shortcut");
    struct fann *ours = fann_create_from_file(at("ours", "net"));
    if (!ours) return 1;
    outputs(ours, "ours");
    fann_destroy(ours);
    return 0;
}
