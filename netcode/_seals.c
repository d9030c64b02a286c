/* Datagrams sealed and opened: see netcode/seals.py. The ciphers are those of the system's libcrypto, found at run time, so
   that no headers are needed and the system's updates reach us. */

#include "_packed.h"
#include <dlfcn.h>

/* ---- OpenSSL's EVP interface, the same since 1.1 ---- */

typedef struct evp_cipher_st EVP_CIPHER;
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef int (*init_function)(EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *);
typedef int (*update_function)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);
typedef int (*final_function)(EVP_CIPHER_CTX *, unsigned char *, int *);

enum { GET_TAG = 0x10, SET_TAG = 0x11 };

static EVP_CIPHER_CTX *(*context_new)(void);
static int (*context_control)(EVP_CIPHER_CTX *, int, int, void *);
static init_function encrypt_init, decrypt_init;
static update_function encrypt_update, decrypt_update;
static final_function encrypt_final, decrypt_final;
static void (*clear_errors)(void);
static EVP_CIPHER_CTX *encrypting[SUITES], *decrypting[SUITES];

int find_openssl(void) {
    static const char *names[] = {"libcrypto.so.3", "libcrypto.so.1.1"};
    static const char *suites[SUITES] = {"EVP_aes_256_gcm", "EVP_chacha20_poly1305"};
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library || !(*(void **)&clear_errors = dlsym(library, "ERR_clear_error"))) return -1;
#define FIND(variable, name) \
    if (!(*(void **)&(variable) = dlsym(library, name))) return -1
    FIND(context_new, "EVP_CIPHER_CTX_new");
    FIND(context_control, "EVP_CIPHER_CTX_ctrl");
    FIND(encrypt_init, "EVP_EncryptInit_ex");
    FIND(decrypt_init, "EVP_DecryptInit_ex");
    FIND(encrypt_update, "EVP_EncryptUpdate");
    FIND(decrypt_update, "EVP_DecryptUpdate");
    FIND(encrypt_final, "EVP_EncryptFinal_ex");
    FIND(decrypt_final, "EVP_DecryptFinal_ex");
    for (int suite = 0; suite < SUITES; suite++) {
        const EVP_CIPHER *(*cipher)(void);
        FIND(cipher, suites[suite]);
        encrypting[suite] = context_new();
        decrypting[suite] = context_new();
        if (!encrypting[suite] || !decrypting[suite] ||
            encrypt_init(encrypting[suite], cipher(), NULL, NULL, NULL) != 1 ||
            decrypt_init(decrypting[suite], cipher(), NULL, NULL, NULL) != 1) {
            clear_errors(); /* a suite that this OpenSSL does not have */
            return -1;
        }
    }
#undef FIND
    return 0;
}

static void nonce_of(int64_t sequence, unsigned char *nonce) {
    memset(nonce, 0, NONCE_SIZE);
    for (int i = 0; i < 8; i++) nonce[i] = (unsigned char)((uint64_t)sequence >> 8 * i);
}

/* ---- seal and open ---- */

static int seal_one(int suite, const unsigned char *key, const unsigned char *nonce, const unsigned char *named,
                    const unsigned char *plain, int size, unsigned char *out) {
    EVP_CIPHER_CTX *context = encrypting[suite];
    int done;
    return encrypt_init(context, NULL, NULL, key, nonce) == 1 &&
           encrypt_update(context, NULL, &done, named, NAMED_SIZE + 1) == 1 &&
           (size == 0 || encrypt_update(context, out, &done, plain, size) == 1) &&
           encrypt_final(context, out + size, &done) == 1 &&
           context_control(context, GET_TAG, TAG_SIZE, out + size) == 1;
}

static int open_one(int suite, const unsigned char *key, const unsigned char *nonce, const unsigned char *named,
                    const unsigned char *sealed, int size, unsigned char *out) {
    EVP_CIPHER_CTX *context = decrypting[suite];
    int done;
    return decrypt_init(context, NULL, NULL, key, nonce) == 1 &&
           decrypt_update(context, NULL, &done, named, NAMED_SIZE + 1) == 1 &&
           (size == 0 || decrypt_update(context, out, &done, sealed, size) == 1) &&
           context_control(context, SET_TAG, TAG_SIZE, (void *)(sealed + size)) == 1 &&
           decrypt_final(context, out + size, &done) == 1;
}

int open_datagram(int suite, const unsigned char *key, int64_t sequence, int direction, const unsigned char *datagram,
                  int64_t size, unsigned char *out) {
    unsigned char nonce[NONCE_SIZE], named[NAMED_SIZE + 1];
    memcpy(named, datagram, NAMED_SIZE);
    named[NAMED_SIZE] = (unsigned char)direction;
    nonce_of(sequence, nonce);
    if (open_one(suite, key, nonce, named, datagram + HEAD_SIZE, (int)(size - OVERHEAD), out)) return 1;
    clear_errors(); /* the queue is the thread's: TLS connections would take what is left there for their own */
    return 0;
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
    const unsigned char *key = a[KEYS].buf, *suite = a[SUITE].buf, *head = a[HEADS].buf, *data = a[DATA].buf;
    unsigned char *out = a[OUT].buf, nonce[NONCE_SIZE], named[NAMED_SIZE + 1];
    const char *wrong = NULL;
    Py_ssize_t at = 0;
    if (count_of(&a[SEQUENCES], 8) != count || count_of(&a[BEGINS], 8) != count || count_of(&a[SIZES], 8) != count ||
        a[HEADS].len != count * HEAD_SIZE || a[SUITE].len != keys)
        wrong = "columns of different lengths";
    named[NAMED_SIZE] = (unsigned char)direction;
    for (Py_ssize_t i = 0; i < count && !wrong; i++) {
        const int64_t slot = slots[i], size = sizes[i];
        if (slot < 0 || slot >= keys || suite[slot] >= SUITES || size > INT32_MAX || !inside(begins[i], size, a[DATA].len) ||
            !inside(at, OVERHEAD + size, a[OUT].len)) {
            wrong = "a row out of bounds";
            break;
        }
        memcpy(out + at, head + i * HEAD_SIZE, HEAD_SIZE);
        memcpy(named, head + i * HEAD_SIZE, NAMED_SIZE);
        nonce_of(sequences[i], nonce);
        if (!seal_one(suite[slot], key + slot * KEY_SIZE, nonce, named, data + begins[i], (int)size, out + at + HEAD_SIZE))
            wrong = "the cipher failed"; /* never seen */
        at += OVERHEAD + size;
    }
    release(a, ARRAYS);
    if (wrong) clear_errors();
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
    const unsigned char *key = a[KEYS].buf, *suite = a[SUITE].buf, *data = a[DATA].buf;
    unsigned char *out = a[OUT].buf, *good = a[GOOD].buf;
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
        good[i] = (unsigned char)open_datagram(suite[slot], key + slot * KEY_SIZE, sequences[i], direction, data + begins[i],
                                               sizes[i], out + at);
        if (!good[i]) memset(out + at, 0, (size_t)size);
        at += size;
    }
    release(a, ARRAYS);
    if (wrong) return refuse(wrong);
    Py_RETURN_NONE;
}
