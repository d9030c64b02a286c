/* Input packets read into the queues of their seats, many in one call: see netcode/inputs.py, which does the same in
   columns. */

#include "_packed.h"

#define HEADER_SIZE 15
#define HAS_BASELINE 1
#define UNACKED_MAX 32
#define QUEUED_MAX 8 /* a power of two: of a sequence the low bits are its place in the ring */
#define SKIPS_MAX 8
enum { FLAGS = 0, STREAM_AT = 1, BASELINE_AT = 8, SEEN_AT = 10, NEWEST_AT = 12, COUNT_AT = 14 }; /* in the header */

enum { STREAM, TICKS, READ, /* a row for each place */
       WAITING = READ, BASELINE, NEXT, SKIPS, SKIPPED, SEEN, INPUTS, NUMBER, COLUMNS };
static const shape columns[COLUMNS] = {
    [STREAM] = {'u', 1, 1}, [TICKS] = {'i', 8, 1}, [WAITING] = {'i', 8, 1}, [BASELINE] = {'i', 8, 1}, [NEXT] = {'i', 8, 1},
    [SKIPS] = {'i', 8, 1}, [SKIPPED] = {'i', 8, 2}, [SEEN] = {'i', 8, QUEUED_MAX}, [INPUTS] = {'u', 1, 0},
    [NUMBER] = {'i', 8, 1},
};

enum { AT, BEGINS, SIZES, GIVEN, /* a row for each packet */
       NEWEST = GIVEN, PACKETS };
static const shape packets[PACKETS] = {
    [AT] = {'i', 8, 1}, [BEGINS] = {'i', 8, 1}, [SIZES] = {'i', 8, 1}, [NEWEST] = {'i', 8, 1},
};

/* The whole number that these 16 bits are, nearest to another: see netcode/sequence.py. */
static int64_t widen(uint64_t low, int64_t near) {
    const int64_t value = near + (int64_t)((low - (uint64_t)near + 0x7FFF) & 0xFFFF) - 0x7FFF;
    return value >= 0 ? value : value & 0xFFFF;
}

/* Queue the inputs of a packet that are due at this place, as many as there is room for. */
static void queue(const Py_buffer *c, int64_t place, int64_t newest, const unsigned char *packet, size_t input) {
    int64_t *next = (int64_t *)c[NEXT].buf + place, *waiting = (int64_t *)c[WAITING].buf + place;
    int64_t *skips = (int64_t *)c[SKIPS].buf + place, *skipped = (int64_t *)c[SKIPPED].buf + 2 * place;
    const int64_t oldest = newest - packet[COUNT_AT] + 1, seen = (int64_t)little(packet + SEEN_AT, 2);
    if (!packet[COUNT_AT] || newest < *next || newest >= *next + 2 * UNACKED_MAX) return;
    if (oldest > *next) {
        if (*waiting != 0 || skipped[0] >= 0 || *skips >= SKIPS_MAX) return;
        ++*skips;
        skipped[0] = *next;
        skipped[1] = oldest - 1;
        *next = oldest;
    }
    for (; *next <= newest && *waiting < QUEUED_MAX; ++*next, ++*waiting) {
        const int64_t back = newest - *next, ring = place * QUEUED_MAX + (*next & (QUEUED_MAX - 1));
        ((int64_t *)c[SEEN].buf)[ring] = (seen - back) & 0xFFFF;
        memcpy((unsigned char *)c[INPUTS].buf + (size_t)ring * input, packet + HEADER_SIZE + (size_t)back * input, input);
    }
}

/* take_in(columns, packets, data, input): reads of each place the packet with the newest input, of equals the last that came;
   NEWEST is of use while the call lasts. `input`: the bytes of one. Returns how many packets were none. */
PyObject *take_in(PyObject *module, PyObject *args) {
    PyObject *of_places, *of_packets;
    Py_buffer c[COLUMNS], p[PACKETS], data = {0};
    int input;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!y*i", &PyTuple_Type, &of_places, &PyTuple_Type, &of_packets, &data, &input)) return NULL;
    const int places_taken = take(of_places, columns, COLUMNS, READ, c);
    const int taken = PyErr_Occurred() ? 0 : take(of_packets, packets, PACKETS, GIVEN, p);
    const char *wrong = NULL;
    Py_ssize_t malformed = 0;
    if (PyErr_Occurred()) goto done;

    const Py_ssize_t places = count_of(&c[STREAM], 1), count = count_of(&p[AT], 8);
    const int64_t *at = p[AT].buf, *begins = p[BEGINS].buf, *sizes = p[SIZES].buf, *ticks = c[TICKS].buf;
    int64_t *newest = p[NEWEST].buf, *number = c[NUMBER].buf, *baseline = c[BASELINE].buf;
    if (input < 0 || c[INPUTS].len != places * QUEUED_MAX * input) wrong = "columns of different lengths";
    for (Py_ssize_t i = 0; i < count && !wrong; i++) { /* what they are */
        newest[i] = -1;
        if (at[i] >= places || !inside(begins[i], sizes[i], data.len)) wrong = "a row out of bounds";
        if (wrong || at[i] < 0) continue;
        const unsigned char *packet = (unsigned char *)data.buf + begins[i];
        if (sizes[i] >= HEADER_SIZE && packet[STREAM_AT] != ((unsigned char *)c[STREAM].buf)[at[i]]) continue;
        if (sizes[i] < HEADER_SIZE || packet[COUNT_AT] > UNACKED_MAX ||
            sizes[i] != HEADER_SIZE + (int64_t)packet[COUNT_AT] * input) {
            malformed++;
            continue;
        }
        newest[i] = widen(little(packet + NEWEST_AT, 2), ((int64_t *)c[NEXT].buf)[at[i]]);
        number[at[i]] = -1;
    }
    for (Py_ssize_t i = 0; i < count && !wrong; i++) /* the one of each place that is read */
        if (newest[i] >= 0 && (number[at[i]] < 0 || newest[i] >= newest[number[at[i]]])) number[at[i]] = i;
    for (Py_ssize_t i = 0; i < count && !wrong; i++) {
        if (newest[i] < 0 || number[at[i]] != i) continue;
        const unsigned char *packet = (unsigned char *)data.buf + begins[i];
        const int64_t told = widen(little(packet + BASELINE_AT, 2), ticks[at[i]]);
        if (packet[FLAGS] & HAS_BASELINE && told > baseline[at[i]] && told <= ticks[at[i]]) baseline[at[i]] = told;
        queue(c, at[i], newest[i], packet, (size_t)input);
    }
done:
    release(c, places_taken);
    release(p, taken);
    PyBuffer_Release(&data);
    if (PyErr_Occurred()) return NULL;
    if (wrong) return refuse(wrong);
    return PyLong_FromSsize_t(malformed);
}
