/* What the files of `netcode._packed` share; see `_packed.c`. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* ---- the format of a datagram: see netcode/seal.py ---- */

#define KEY_SIZE 32
#define NONCE_SIZE 12
#define TAG_SIZE 16
#define CONNECTION_AT 1
#define NAMED_SIZE 9  /* what of a header is authenticated as it stands; the direction follows */
#define HEAD_SIZE 11  /* first byte, connection id, low 16 bits of the sequence */
#define OVERHEAD (HEAD_SIZE + TAG_SIZE)
#define SUITES 2

/* ---- arrays ---- */

static inline Py_ssize_t count_of(const Py_buffer *array, size_t item) { return array->len / (Py_ssize_t)item; }

static inline int inside(int64_t begin, int64_t size, Py_ssize_t length) {
    return begin >= 0 && size >= 0 && begin <= length && size <= length - begin;
}

static inline PyObject *refuse(const char *why) {
    PyErr_SetString(PyExc_ValueError, why);
    return NULL;
}

static inline void release(Py_buffer *arrays, int count) {
    for (int i = 0; i < count; i++) PyBuffer_Release(&arrays[i]);
}

/* What an array must be: the kind of its numbers, their bytes, and how many in a row; 0: any number. */
typedef struct {
    char kind;
    int bytes, width;
} shape;

/* Take the arrays of a tuple, those behind the first `given` to be written to. Returns how many were taken, fewer than
   `count` or with an error set where they are not as they must be, with as many rows as the first. */
int take(PyObject *tuple, const shape *shapes, int count, int given, Py_buffer *arrays);

static inline uint64_t little(const unsigned char *bytes, int count) {
    uint64_t value = 0;
    while (count--) value = value << 8 | bytes[count];
    return value;
}

/* ---- _seals.c ---- */

/* Open a datagram of at least OVERHEAD bytes: whether its tag fits. `out` has room for `size` - OVERHEAD bytes, which are
   worth nothing where it does not. */
int open_datagram(int suite, const unsigned char *key, int64_t sequence, int direction, const unsigned char *datagram,
                  int64_t size, unsigned char *out);

PyObject *use_ciphers(PyObject *module, PyObject *args);
PyObject *seal(PyObject *module, PyObject *args);
PyObject *open_(PyObject *module, PyObject *args);

/* ---- _usual.c ---- */

PyObject *open_usual(PyObject *module, PyObject *args);

/* ---- _inputs.c ---- */

PyObject *take_in(PyObject *module, PyObject *args);

/* ---- _sockets.c ---- */

PyObject *send_all(PyObject *module, PyObject *args);
PyObject *recv_all(PyObject *module, PyObject *args);
