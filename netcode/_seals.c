/* Datagrams sealed and opened: see netcode/seals.py. The ciphers are libsodium's, which netcode/ciphers.py finds for us. */

#include "_packed.h"

/* ---- libsodium's interface, the same for both suites ---- */

typedef unsigned char byte;
typedef unsigned long long length;
typedef int (*encrypt_function)(byte *sealed, length *sealed_size, const byte *plain, length size, const byte *named,
                                length named_size, const byte *unused, const byte *nonce, const byte *key);
typedef int (*decrypt_function)(byte *plain, length *plain_size, byte *unused, const byte *sealed, length size,
                                const byte *named, length named_size, const byte *nonce, const byte *key);

static encrypt_function encrypt[SUITES];
static decrypt_function decrypt[SUITES];

/* use_ciphers(…): the addresses of the functions that encrypt, one a suite, then of those that decrypt. */
PyObject *use_ciphers(PyObject *module, PyObject *args) {
    _Static_assert(SUITES == 2, "an address for each");
    unsigned long long address[2 * SUITES];
    (void)module;
    if (!PyArg_ParseTuple(args, "KKKK", &address[0], &address[1], &address[2], &address[3])) return NULL;
    for (int suite = 0; suite < SUITES; suite++) {
        encrypt[suite] = (encrypt_function)(uintptr_t)address[suite];
        decrypt[suite] = (decrypt_function)(uintptr_t)address[SUITES + suite];
    }
    Py_RETURN_NONE;
}

/* What the tag vouches for beside the plaintext: the header up to the sequence, the direction, and the whole sequence. */
typedef struct {
    byte named[NAMED_SIZE + 1], nonce[NONCE_SIZE];
} bound;

static bound bound_to(const byte *head, int direction, int64_t sequence) {
    bound found = {0};
    memcpy(found.named, head, NAMED_SIZE);
    found.named[NAMED_SIZE] = (byte)direction;
    for (int i = 0; i < 8; i++) found.nonce[i] = (byte)((uint64_t)sequence >> 8 * i);
    return found;
}

/* ---- seal and open ---- */

int open_datagram(int suite, const byte *key, int64_t sequence, int direction, const byte *datagram, int64_t size,
                  byte *out) {
    const bound it = bound_to(datagram, direction, sequence);
    return decrypt[suite] && decrypt[suite](out, NULL, NULL, datagram + HEAD_SIZE, (length)(size - HEAD_SIZE), it.named,
                                            sizeof it.named, it.nonce, key) == 0;
}

/* seal(keys, suites, slots, sequences, heads, direction, data, begins, sizes, out): `out` becomes the datagrams, one
   behind the other. */
PyObject *seal(PyObject *module, PyObject *args) {
    enum { KEYS, SUITE, SLOTS, SEQUENCES, HEADS, DATA, BEGINS, SIZES, OUT, ARRAYS };
    Py_buffer a[ARRAYS];
    int direction;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*iy*y*y*w*", &a[KEYS], &a[SUITE], &a[SLOTS], &a[SEQUENCES], &a[HEADS], &direction,
                          &a[DATA], &a[BEGINS], &a[SIZES], &a[OUT]))
        return NULL;
    const Py_ssize_t count = count_of(&a[SLOTS], 8), keys = count_of(&a[KEYS], KEY_SIZE);
    const int64_t *slots = a[SLOTS].buf, *sequences = a[SEQUENCES].buf, *begins = a[BEGINS].buf, *sizes = a[SIZES].buf;
    const byte *key = a[KEYS].buf, *suite = a[SUITE].buf, *head = a[HEADS].buf, *data = a[DATA].buf;
    byte *out = a[OUT].buf;
    const char *wrong = NULL;
    Py_ssize_t at = 0;
    if (count_of(&a[SEQUENCES], 8) != count || count_of(&a[BEGINS], 8) != count || count_of(&a[SIZES], 8) != count ||
        a[HEADS].len != count * HEAD_SIZE || a[SUITE].len != keys)
        wrong = "columns of different lengths";
    for (Py_ssize_t i = 0; i < count && !wrong; i++) {
        const int64_t slot = slots[i], size = sizes[i];
        if (slot < 0 || slot >= keys || suite[slot] >= SUITES || size > INT32_MAX || !inside(begins[i], size, a[DATA].len) ||
            !inside(at, OVERHEAD + size, a[OUT].len)) {
            wrong = "a row out of bounds";
            break;
        }
        const bound it = bound_to(head + i * HEAD_SIZE, direction, sequences[i]);
        memcpy(out + at, head + i * HEAD_SIZE, HEAD_SIZE);
        if (!encrypt[suite[slot]] || encrypt[suite[slot]](out + at + HEAD_SIZE, NULL, data + begins[i], (length)size, it.named,
                                                          sizeof it.named, NULL, it.nonce, key + slot * KEY_SIZE) != 0)
            wrong = "the cipher failed"; /* never seen */
        at += OVERHEAD + size;
    }
    release(a, ARRAYS);
    if (wrong) return refuse(wrong);
    Py_RETURN_NONE;
}

/* open(keys, suites, slots, sequences, direction, data, begins, sizes, out, good): `out` becomes the plaintexts of the
   datagrams, one behind the other, and good[i] whether the tag fits; where it does not the plaintext is zeros. */
PyObject *open_(PyObject *module, PyObject *args) {
    enum { KEYS, SUITE, SLOTS, SEQUENCES, DATA, BEGINS, SIZES, OUT, GOOD, ARRAYS };
    Py_buffer a[ARRAYS];
    int direction;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*y*iy*y*y*w*w*", &a[KEYS], &a[SUITE], &a[SLOTS], &a[SEQUENCES], &direction, &a[DATA],
                          &a[BEGINS], &a[SIZES], &a[OUT], &a[GOOD]))
        return NULL;
    const Py_ssize_t count = count_of(&a[SLOTS], 8), keys = count_of(&a[KEYS], KEY_SIZE);
    const int64_t *slots = a[SLOTS].buf, *sequences = a[SEQUENCES].buf, *begins = a[BEGINS].buf, *sizes = a[SIZES].buf;
    const byte *key = a[KEYS].buf, *suite = a[SUITE].buf, *data = a[DATA].buf;
    byte *out = a[OUT].buf, *good = a[GOOD].buf;
    const char *wrong = NULL;
    Py_ssize_t at = 0;
    if (count_of(&a[SEQUENCES], 8) != count || count_of(&a[BEGINS], 8) != count || count_of(&a[SIZES], 8) != count ||
        a[GOOD].len != count || a[SUITE].len != keys)
        wrong = "columns of different lengths";
    for (Py_ssize_t i = 0; i < count && !wrong; i++) {
        const int64_t slot = slots[i], size = sizes[i] < OVERHEAD ? -1 : sizes[i] - OVERHEAD;
        if (slot < 0 || slot >= keys || suite[slot] >= SUITES || size < 0 || size > INT32_MAX ||
            !inside(begins[i], sizes[i], a[DATA].len) || !inside(at, size, a[OUT].len)) {
            wrong = "a row out of bounds";
            break;
        }
        good[i] = (byte)open_datagram(suite[slot], key + slot * KEY_SIZE, sequences[i], direction, data + begins[i],
                                               sizes[i], out + at);
        if (!good[i]) memset(out + at, 0, (size_t)size);
        at += size;
    }
    release(a, ARRAYS);
    if (wrong) return refuse(wrong);
    Py_RETURN_NONE;
}
