// Ids that llama.cpp gives texts, for vocabularies.py.
//
//   llama_ids MODEL.gguf TEXTS IDS [special]
//
// TEXTS: for each text its length (u32) and its bytes. IDS: for each text the count of its ids (u32) and the ids (i32).
// With `special`, tokens stand around a text as the file asks, and control tokens in it count.
// Build against llama.cpp: cc llama_ids.c -lllama -lggml -lggml-base
#include "llama.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void quiet(enum ggml_log_level level, const char * text, void * data) {
    (void) level, (void) text, (void) data;
}

int main(int argc, char ** argv) {
    if (argc < 4) {
        return 2;
    }
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    struct llama_model * model = llama_model_load_from_file(argv[1], params);
    FILE * in = fopen(argv[2], "rb");
    FILE * out = fopen(argv[3], "wb");
    if (!model || !in || !out) {
        return 1;
    }
    const struct llama_vocab * vocab = llama_model_get_vocab(model);
    const bool special = argc > 4;
    uint32_t length;
    while (fread(&length, 4, 1, in) == 1) {
        char * text = malloc(length + 1);
        if (fread(text, 1, length, in) != length) {
            return 1;
        }
        int32_t room = (int32_t) length * 4 + 16;
        llama_token * ids = malloc(room * sizeof(llama_token));
        int32_t count = llama_tokenize(vocab, text, (int32_t) length, ids, room, special, special);
        if (count < 0) {
            return 1;
        }
        fwrite(&count, 4, 1, out);
        fwrite(ids, sizeof(llama_token), count, out);
        free(text), free(ids);
    }
    return fclose(out);
}
