// The kernels of SimSIMD and NumKong as one table, for `examples/vectors.rs` to call beside ours.
// cc -O3 -march=native -shared -fPIC -DPEER_SIMSIMD -I <crate simsimd>/include vectors-peers.c -lm -o simsimd.so
// cc -O3 -march=native -shared -fPIC -DPEER_NUMKONG -I <crate numkong>/include vectors-peers.c -lm -o numkong.so
#include <stddef.h>
#include <stdint.h>
typedef void (*call)(const void *, const void *, size_t, void *);
struct peer { const char *op, *type; call f; };
#ifdef PEER_SIMSIMD
#define SIMSIMD_NATIVE_F16 0
#define SIMSIMD_NATIVE_BF16 0
#include <simsimd/simsimd.h>
const char *name = "simsimd";
#define K(op, type, f) {op, type, (call)simsimd_##f}
const struct peer peers[] = {
    K("dot", "f32", dot_f32_skylake), K("cosine", "f32", cos_f32_skylake), K("squared", "f32", l2sq_f32_skylake),
    K("dot", "f16", dot_f16_haswell), K("cosine", "f16", cos_f16_haswell), K("squared", "f16", l2sq_f16_haswell),
    K("dot", "bf16", dot_bf16_genoa), K("cosine", "bf16", cos_bf16_genoa), K("squared", "bf16", l2sq_bf16_genoa),
    K("dot", "i8", dot_i8_ice), K("cosine", "i8", cos_i8_ice), K("squared", "i8", l2sq_i8_ice),
    K("hamming", "bits", hamming_b8_ice), {0, 0, 0}};
size_t hamming_unit(void) { return 8; }
#else
#define NK_NATIVE_F16 0
#define NK_NATIVE_BF16 0
#include <numkong/dot.h>
#include <numkong/set.h>
#include <numkong/spatial.h>
const char *name = "numkong";
#define K(op, type, f) {op, type, (call)nk_##f}
const struct peer peers[] = {
    K("dot_f64", "f32", dot_f32_skylake), K("cosine_f64", "f32", angular_f32_skylake), K("squared_f64", "f32", sqeuclidean_f32_skylake),
    K("dot", "f16", dot_f16_skylake), K("cosine", "f16", angular_f16_skylake), K("squared", "f16", sqeuclidean_f16_skylake),
    K("dot", "bf16", dot_bf16_genoa), K("cosine", "bf16", angular_bf16_genoa), K("squared", "bf16", sqeuclidean_bf16_genoa),
    K("dot", "i8", dot_i8_icelake), K("cosine", "i8", angular_i8_icelake), K("squared", "i8", sqeuclidean_i8_icelake),
    K("hamming", "bits", hamming_u1_icelake), {0, 0, 0}};
size_t hamming_unit(void) { return 1; }
#endif
