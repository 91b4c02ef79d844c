// llama.cpp asked by gguf.py: quantised files, and logits of all tokens.
//
//   llama_peer quantize IN.gguf OUT.gguf FTYPE       FTYPE: a number of enum llama_ftype
//   llama_peer logits MODEL.gguf IDS OUT             IDS: i32; OUT: f32 [ids, vocabulary]; keys and values in f32
// Build against llama.cpp: cc llama_peer.c -lllama -lggml -lggml-base
// BACKENDS: the folder of ggml's processor libraries, where they are separate.
#include "ggml-backend.h"
#include "llama.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX 512

static void quiet(enum ggml_log_level level, const char * text, void * data) {
    (void) data;
    if (level >= GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

static int quantize(char ** argv) {
    struct llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = atoi(argv[4]);
    params.nthread = 1;
    return llama_model_quantize(argv[2], argv[3], &params);
}

static int logits(char ** argv) {
    struct llama_model_params model_params = llama_model_default_params();
    struct llama_context_params params = llama_context_default_params();
    struct llama_model * model = llama_model_load_from_file(argv[2], model_params);
    FILE * in = fopen(argv[3], "rb");
    FILE * out = fopen(argv[4], "wb");
    if (!model || !in || !out) {
        return 1;
    }
    params.n_ctx = params.n_batch = TOKENS_MAX;
    params.n_threads = params.n_threads_batch = 1;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    struct llama_context * context = llama_init_from_model(model, params);
    int ids[TOKENS_MAX];
    int count = (int) fread(ids, sizeof *ids, TOKENS_MAX, in);
    struct llama_batch batch = llama_batch_init(count, 0, 1);
    batch.n_tokens = count;
    for (int i = 0; i < count; i++) {
        batch.token[i] = ids[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (!context || llama_decode(context, batch)) {
        return 1;
    }
    size_t vocab = (size_t) llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int i = 0; i < count; i++) {
        fwrite(llama_get_logits_ith(context, i), sizeof(float), vocab, out);
    }
    return fclose(out);
}

int main(int argc, char ** argv) {
    if (argc != 5) {
        return 2;
    }
    llama_log_set(quiet, NULL);
    if (getenv("BACKENDS")) {
        ggml_backend_load_all_from_path(getenv("BACKENDS"));
    }
    llama_backend_init();
    return strcmp(argv[1], "quantize") ? logits(argv) : quantize(argv);
}
