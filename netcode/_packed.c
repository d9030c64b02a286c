/* What is done for every datagram of a tick, for many of them in one call: opened and accepted (_usual.c), sealed (_seals.c),
   read as inputs (_inputs.c), encoded as a delta, and put together from parts; and streams are read and written (_sockets.c).

   Optional: where it cannot be built or there are no ciphers for it (netcode/ciphers.py), netcode/usual.py,
   netcode/seals.py, netcode/inputs.py, netcode/packed.py and netcode/delta.py do the same in Python, slower; their tests
   hold the two against each other.

   Every function checks each row's bounds before it touches memory: rows come from the network. Arrays are C-contiguous,
   aligned and different ones; sizes, places and sequences are int64. */

#include "_packed.h"

/* ---- arrays ---- */

static char kind_of(const char *format) {
    if (!format || !format[0] || format[1]) return '?';
    return strchr("bhilq", format[0]) ? 'i' : strchr("BHILQ", format[0]) ? 'u' : strchr("fd", format[0]) ? 'f' : '?';
}

int take(PyObject *tuple, const shape *shapes, int count, int given, Py_buffer *arrays) {
    if (PyTuple_Size(tuple) != count) {
        refuse("another number of columns");
        return 0;
    }
    for (int i = 0; i < count; i++) {
        const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (i < given ? 0 : PyBUF_WRITABLE);
        const Py_ssize_t rows = i ? count_of(&arrays[0], (size_t)(shapes[0].bytes * shapes[0].width)) : -1;
        if (PyObject_GetBuffer(PyTuple_GetItem(tuple, i), &arrays[i], flags) != 0) return i;
        const Py_ssize_t row = (Py_ssize_t)shapes[i].bytes * shapes[i].width, length = arrays[i].len;
        if (arrays[i].itemsize != shapes[i].bytes || kind_of(arrays[i].format) != shapes[i].kind)
            refuse("a column of another type");
        else if (row ? length % row || (i && length != rows * row) : rows ? length % (rows * shapes[i].bytes) : length)
            refuse("columns of different lengths");
        if (PyErr_Occurred()) return i + 1;
    }
    return count;
}

/* ---- parts ---- */

/* add(out, places, data, begins, sizes): copy the parts data[begins[i]:][:sizes[i]] to out[places[i]:], and move the
   places behind them. */
static PyObject *add(PyObject *module, PyObject *args) {
    enum { OUT, PLACES, DATA, BEGINS, SIZES, ARRAYS };
    Py_buffer a[ARRAYS];
    (void)module;
    if (!PyArg_ParseTuple(args, "w*w*y*y*y*", &a[OUT], &a[PLACES], &a[DATA], &a[BEGINS], &a[SIZES])) return NULL;
    const Py_ssize_t count = count_of(&a[PLACES], 8);
    const int64_t *begins = a[BEGINS].buf, *sizes = a[SIZES].buf;
    int64_t *places = a[PLACES].buf;
    const char *wrong = NULL;
    if (count_of(&a[BEGINS], 8) != count || count_of(&a[SIZES], 8) != count) wrong = "columns of different lengths";
    for (Py_ssize_t i = 0; i < count && !wrong; i++) {
        if (!inside(begins[i], sizes[i], a[DATA].len) || !inside(places[i], sizes[i], a[OUT].len)) {
            wrong = "a row out of bounds";
            break;
        }
        memmove((unsigned char *)a[OUT].buf + places[i], (const unsigned char *)a[DATA].buf + begins[i], (size_t)sizes[i]);
        places[i] += sizes[i];
    }
    release(a, ARRAYS);
    if (wrong) return refuse(wrong);
    Py_RETURN_NONE;
}

/* ---- deltas: see netcode/delta.py for the format ---- */

enum { START, COUNT, BITS, SIGNED, FIELD };  /* a field: int32 each */

static int value_bytes(int code) { return code == 3 ? 4 : code; }

static size_t write_mask(const int32_t *changes, int count, unsigned char *out) {
    const int bytes = (count + 7) / 8, sparse = count > 16;
    unsigned char *top = out, *at = out + (sparse ? (bytes + 7) / 8 : 0);
    memset(out, 0, (size_t)(at - out));
    for (int byte = 0; byte < bytes; byte++) {
        unsigned char mask = 0;
        for (int bit = 0; bit < 8 && 8 * byte + bit < count; bit++) {
            if (changes[8 * byte + bit]) mask |= (unsigned char)(1 << bit);
        }
        if (!sparse || mask) *at++ = mask;
        if (sparse && mask) top[byte / 8] |= (unsigned char)(1 << byte % 8);
    }
    return (size_t)(at - out);
}

/* The most bytes that a delta of these fields takes, or -1 where they are no layout of so many values. */
static int64_t most_of(const Py_buffer *fields, Py_ssize_t width) {
    const Py_ssize_t count = count_of(fields, 4 * FIELD);
    const int32_t *field = fields->buf;
    int64_t most = (count + 3) / 4;
    for (Py_ssize_t number = 0; number < count; number++, field += FIELD) {
        const int64_t values = field[COUNT], mask = (values + 7) / 8;
        if (field[START] < 0 || values < 1 || values > width - field[START] || field[BITS] < 1 || field[BITS] > 32) return -1;
        most += 4 * values + (values > 1 ? mask : 0) + (values > 16 ? (mask + 7) / 8 : 0);
    }
    return most;
}

static size_t delta(const int32_t *current, const int32_t *baseline, const int32_t *fields, int count, int32_t *changes,
                    unsigned char *codes, unsigned char *out) {
    unsigned char *at = out + (count + 3) / 4;
    memset(out, 0, (size_t)(at - out));
    for (int number = 0; number < count; number++) {
        const int32_t *field = fields + number * FIELD;
        const uint32_t half = 1u << (field[BITS] - 1), keep = field[BITS] == 32 ? ~0u : (1u << field[BITS]) - 1;
        int32_t *mine = changes + field[START];
        uint32_t wide = 0, any = 0;
        for (int i = 0; i < field[COUNT]; i++) {
            const int place = field[START] + i;
            const uint32_t from = baseline ? (uint32_t)baseline[place] : 0;
            const int32_t change = (int32_t)((((uint32_t)current[place] - from + half) & keep) - half);
            mine[i] = change;
            any |= (uint32_t)change;
            wide |= (uint32_t)(change ^ (change >> 31));
        }
        codes[number] = any == 0 ? 0 : wide <= 127 ? 1 : wide <= 32767 ? 2 : 3;
        out[number / 4] |= (unsigned char)(codes[number] << 2 * (number % 4));
        if (codes[number] && field[COUNT] > 1) at += write_mask(mine, field[COUNT], at);
    }
    for (int number = 0; number < count; number++) {
        const int32_t *field = fields + number * FIELD, *mine = changes + field[START];
        const int bytes = value_bytes(codes[number]);
        for (int i = 0; i < field[COUNT]; i++)
            if (mine[i])
                for (int byte = 0; byte < bytes; byte++) *at++ = (unsigned char)((uint32_t)mine[i] >> 8 * byte);
    }
    return (size_t)(at - out);
}

/* deltas(views, width, current, baseline, fields, longest, out, sizes): of every row views[current[i]] against
   views[baseline[i]], or zeros where that is negative; `out` becomes the deltas, one behind the other, none longer than
   `longest` bytes. The whole size is returned. */
static PyObject *deltas(PyObject *module, PyObject *args) {
    enum { VIEWS, CURRENT, BASELINE, FIELDS, OUT, SIZES, ARRAYS };
    Py_buffer a[ARRAYS];
    int width, longest;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*iy*y*y*iw*w*", &a[VIEWS], &width, &a[CURRENT], &a[BASELINE], &a[FIELDS], &longest, &a[OUT],
                          &a[SIZES]))
        return NULL;
    const Py_ssize_t count = count_of(&a[CURRENT], 8), fields = count_of(&a[FIELDS], 4 * FIELD);
    const Py_ssize_t views = width > 0 ? count_of(&a[VIEWS], 4) / width : 0;
    const int64_t *current = a[CURRENT].buf, *baseline = a[BASELINE].buf;
    const int32_t *values = a[VIEWS].buf;
    int64_t *sizes = a[SIZES].buf, at = 0;
    int32_t *changes = PyMem_Malloc((size_t)(width > 0 ? width : 1) * sizeof *changes);
    unsigned char *codes = PyMem_Malloc((size_t)fields + 1);
    const char *wrong = NULL;
    if (count_of(&a[BASELINE], 8) != count || count_of(&a[SIZES], 8) != count) wrong = "columns of different lengths";
    const int64_t most = most_of(&a[FIELDS], width);
    if (most < 0 || most > longest) wrong = "a field out of bounds";
    const int memory = changes && codes;
    for (Py_ssize_t i = 0; i < count && !wrong && memory; i++) {
        if (current[i] < 0 || current[i] >= views || baseline[i] >= views || !inside(at, longest, a[OUT].len)) {
            wrong = "a row out of bounds";
            break;
        }
        sizes[i] = (int64_t)delta(values + current[i] * width, baseline[i] < 0 ? NULL : values + baseline[i] * width,
                                  a[FIELDS].buf, (int)fields, changes, codes, (unsigned char *)a[OUT].buf + at);
        at += sizes[i];
    }
    PyMem_Free(changes);
    PyMem_Free(codes);
    release(a, ARRAYS);
    if (!memory) return PyErr_NoMemory();
    if (wrong) return refuse(wrong);
    return PyLong_FromLongLong(at);
}

/* The mask of a field at data[at]: a byte for eight values in `mask`. Returns where it ends, or -1 and why in `wrong`. */
static Py_ssize_t read_mask(const unsigned char *data, Py_ssize_t length, Py_ssize_t at, int count, unsigned char *mask,
                            const char **wrong) {
    const int bytes = (count + 7) / 8, sparse = count > 16;
    const unsigned char *top = data + at;
    if (sparse) at += (bytes + 7) / 8;
    for (int byte = 0; byte < bytes && at <= length; byte++) {
        mask[byte] = 0;
        if (sparse && !(top[byte / 8] >> byte % 8 & 1)) continue;
        if (at < length) mask[byte] = data[at];
        at++;
    }
    if (at > length) *wrong = "a mask is cut short";
    else if (count % 8 && mask[bytes - 1] >> count % 8) *wrong = "a mask is longer than its field";
    return *wrong ? -1 : at;
}

/* Apply the changes of one field, which begin at data[at]. Returns where they end, or -1 and why in `wrong`. */
static Py_ssize_t change(int64_t *values, const int32_t *field, int bytes, const unsigned char *mask,
                         const unsigned char *data, Py_ssize_t length, Py_ssize_t at, const char **wrong) {
    const uint64_t keep = ((uint64_t)1 << field[BITS]) - 1, low = field[SIGNED] ? (uint64_t)1 << (field[BITS] - 1) : 0;
    for (int i = 0; i < field[COUNT]; i++) {
        if (!(mask[i / 8] >> i % 8 & 1)) continue;
        if (bytes > length - at) {
            *wrong = "the delta is cut short";
            return -1;
        }
        uint32_t step = 0;
        for (int byte = 0; byte < bytes; byte++) step |= (uint32_t)data[at++] << 8 * byte;
        if (bytes < 4 && step >> (8 * bytes - 1)) step |= ~0u << 8 * bytes;
        int64_t *value = values + field[START] + i;
        *value = (int64_t)(((uint64_t)*value + (uint64_t)(int64_t)(int32_t)step + low) & keep) - (int64_t)low;
    }
    return at;
}

/* Room for the masks of a layout; NULL where there is no memory. */
static unsigned char *masks_of(const Py_buffer *fields) {
    size_t size = 1;
    for (Py_ssize_t number = 0; number < count_of(fields, 4 * FIELD); number++) {
        size += (size_t)(((int32_t *)fields->buf)[number * FIELD + COUNT] / 8 + 1);
    }
    return PyMem_Malloc(size);
}

/* Apply a delta at data[at] to the values that it is against. Returns where it ends, or -1 and why in `wrong`. */
static Py_ssize_t undelta_one(int64_t *values, const Py_buffer *fields, unsigned char *masks, const unsigned char *data,
                              Py_ssize_t length, Py_ssize_t at, const char **wrong) {
    const Py_ssize_t count = count_of(fields, 4 * FIELD), codes = at;
    Py_ssize_t mask_at = 0;
    if (at < 0 || at > length || (count + 3) / 4 > length - at) {
        *wrong = "the delta is cut short";
        return -1;
    }
    at += (count + 3) / 4;
    for (Py_ssize_t number = 0; number < count; number++) { /* first the masks of all fields that changed */
        const int32_t *field = (int32_t *)fields->buf + number * FIELD;
        const int code = data[codes + number / 4] >> 2 * (number % 4) & 3;
        if (code && field[COUNT] > 1 && (at = read_mask(data, length, at, field[COUNT], masks + mask_at, wrong)) < 0) return -1;
        mask_at += field[COUNT] / 8 + 1;
    }
    mask_at = 0;
    for (Py_ssize_t number = 0; number < count; number++) {
        const int32_t *field = (int32_t *)fields->buf + number * FIELD;
        const int code = data[codes + number / 4] >> 2 * (number % 4) & 3;
        const unsigned char one = 1, *mask = field[COUNT] > 1 ? masks + mask_at : &one;
        if (code && (at = change(values, field, value_bytes(code), mask, data, length, at, wrong)) < 0) return -1;
        mask_at += field[COUNT] / 8 + 1;
    }
    return at;
}

/* undelta(data, at, fields, values): apply the delta at data[at] to the int64 values that it is against; returns where it
   ends. Raises ValueError on anything malformed, and the values are worth nothing then. */
static PyObject *undelta(PyObject *module, PyObject *args) {
    enum { DATA, FIELDS, VALUES, ARRAYS };
    Py_buffer a[ARRAYS];
    Py_ssize_t at;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*ny*w*", &a[DATA], &at, &a[FIELDS], &a[VALUES])) return NULL;
    const char *wrong = NULL;
    unsigned char *masks = NULL;
    if (most_of(&a[FIELDS], count_of(&a[VALUES], 8)) < 0) wrong = "a field out of bounds";
    else if ((masks = masks_of(&a[FIELDS])))
        at = undelta_one(a[VALUES].buf, &a[FIELDS], masks, a[DATA].buf, a[DATA].len, at, &wrong);
    const int memory = wrong || masks;
    PyMem_Free(masks);
    release(a, ARRAYS);
    if (!memory) return PyErr_NoMemory();
    if (wrong) return refuse(wrong);
    return PyLong_FromSsize_t(at);
}

/* undeltas(data, begins, sizes, fields, views, width, baselines, places): views[places[i]] becomes what the delta in the
   first sizes[i] bytes of data[begins[i]:] makes of views[baselines[i]], or of zeros where that is negative. sizes[i]
   becomes how many of them it took, or -1 where it is malformed; that view is worth nothing then. int64 all. */
static PyObject *undeltas(PyObject *module, PyObject *args) {
    enum { DATA, BEGINS, SIZES, FIELDS, VIEWS, BASELINES, PLACES, ARRAYS };
    Py_buffer a[ARRAYS];
    int width;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*w*y*w*iy*y*", &a[DATA], &a[BEGINS], &a[SIZES], &a[FIELDS], &a[VIEWS], &width,
                          &a[BASELINES], &a[PLACES]))
        return NULL;
    const Py_ssize_t count = count_of(&a[PLACES], 8), views = width > 0 ? count_of(&a[VIEWS], 8) / width : 0;
    const int64_t *begins = a[BEGINS].buf, *baselines = a[BASELINES].buf, *places = a[PLACES].buf;
    int64_t *sizes = a[SIZES].buf;
    const char *wrong = NULL;
    unsigned char *masks = NULL;
    if (count_of(&a[BEGINS], 8) != count || count_of(&a[SIZES], 8) != count || count_of(&a[BASELINES], 8) != count)
        wrong = "columns of different lengths";
    else if (most_of(&a[FIELDS], width) < 0) wrong = "a field out of bounds";
    else masks = masks_of(&a[FIELDS]);
    const int memory = wrong || masks;
    for (Py_ssize_t i = 0; i < count && !wrong && memory; i++) {
        if (places[i] < 0 || places[i] >= views || baselines[i] >= views || !inside(begins[i], sizes[i], a[DATA].len)) {
            wrong = "a row out of bounds";
            break;
        }
        int64_t *values = (int64_t *)a[VIEWS].buf + places[i] * width;
        const char *malformed = NULL;
        if (baselines[i] < 0) memset(values, 0, (size_t)width * sizeof *values);
        else memmove(values, (int64_t *)a[VIEWS].buf + baselines[i] * width, (size_t)width * sizeof *values);
        sizes[i] = undelta_one(values, &a[FIELDS], masks, (unsigned char *)a[DATA].buf + begins[i], sizes[i], 0, &malformed);
    }
    PyMem_Free(masks);
    release(a, ARRAYS);
    if (!memory) return PyErr_NoMemory();
    if (wrong) return refuse(wrong);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"use_ciphers", use_ciphers, METH_VARARGS, NULL},
    {"seal", seal, METH_VARARGS, NULL},
    {"open", open_, METH_VARARGS, NULL},
    {"open_usual", open_usual, METH_VARARGS, NULL},
    {"take_in", take_in, METH_VARARGS, NULL},
    {"send_all", send_all, METH_VARARGS, NULL},
    {"recv_all", recv_all, METH_VARARGS, NULL},
    {"add", add, METH_VARARGS, NULL},
    {"deltas", deltas, METH_VARARGS, NULL},
    {"undelta", undelta, METH_VARARGS, NULL},
    {"undeltas", undeltas, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "netcode._packed", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__packed(void) { return PyModule_Create(&definition); }
