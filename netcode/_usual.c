/* The usual datagrams of a batch, from their bytes to the state of their ends, in one call: see netcode/usual.py, which does
   the same in columns. */

#include "_packed.h"

#define INPUT_FIRST 0x11
#define PAYLOAD_MAX 1200
#define AHEAD_MAX 63
#define WORDS 4         /* of a replay window */
#define SLOT_MASK 0xFFFFF /* of a connection id */
#define ADDRESS_WORDS 7 /* room for an address token; IPv4 has 4 */
#define CLIENT_TO_SERVER 0
#define BY_DATAGRAM 2 /* a channel */

enum { CONNECTION, PATH_BYTES, PATH, KEYS, SUITE, READ, /* a row for each slot */
       HIGHEST = READ, WINDOW, HEARD_AT, PATH_HEARD_AT, PACKETS_FULL_AT, SIZES_FULL_AT, CHANNEL, TIMES, COLUMNS };
static const shape columns[COLUMNS] = {
    [CONNECTION] = {'u', 8, 1}, [PATH_BYTES] = {'i', 1, 1}, [PATH] = {'u', 4, ADDRESS_WORDS}, [KEYS] = {'u', 1, KEY_SIZE},
    [SUITE] = {'u', 1, 1}, [HIGHEST] = {'i', 8, 1}, [WINDOW] = {'u', 8, WORDS}, [HEARD_AT] = {'f', 8, 1},
    [PATH_HEARD_AT] = {'f', 8, 1}, [PACKETS_FULL_AT] = {'f', 8, 1}, [SIZES_FULL_AT] = {'f', 8, 1}, [CHANNEL] = {'i', 1, 1},
    [TIMES] = {'i', 8, 1},
};

enum { SIZES, DATA, ADDRESSES, CAME, /* a row for each datagram */
       SLOTS = CAME, OPENED, OTHERS, BATCH };
static const shape batch[BATCH] = {
    [SIZES] = {'i', 8, 1}, [DATA] = {'u', 1, 0}, [ADDRESSES] = {'u', 4, 0}, [SLOTS] = {'i', 8, 1}, [OPENED] = {'i', 8, 1},
    [OTHERS] = {'i', 8, 1},
};

/* A replay window after a datagram that is so far ahead (1 to AHEAD_MAX) of the newest. */
static void shift(uint64_t *window, int ahead) {
    for (int word = WORDS - 1; word > 0; word--) window[word] = window[word] << ahead | window[word - 1] >> (64 - ahead);
    window[0] = window[0] << ahead | 1;
}

typedef struct {
    double packets_per_s, bytes_per_s, packets_burst_s, sizes_burst_s;
} budget;

/* Whether a packet of this size is within the budget of its session, which it is taken from: see `ServerEnds.take_packets`. */
static int within(double *packets_full_at, double *sizes_full_at, int64_t size, double now, const budget *may) {
    const double packets = (*packets_full_at > now ? *packets_full_at : now) + 1.0 / may->packets_per_s;
    const double room = (*sizes_full_at > now ? *sizes_full_at : now) + (double)size / may->bytes_per_s;
    if (!(packets <= now + may->packets_burst_s && room <= now + may->sizes_burst_s)) return 0;
    *packets_full_at = packets;
    *sizes_full_at = room;
    return 1;
}

/* open_usual(columns, batch, out, now, at_most, budget): opens what is usual of a batch of datagrams, and accepts it. The
   input packets stand one behind the other in `out`, their slots and sizes in SLOTS and OPENED; OTHERS has the numbers of the
   datagrams of known ends that are not usual, or behind such, or more than `at_most` of one end: they are left alone. Returns
   how many packets, how many others, and how many datagrams were dropped: unknown, forged, beyond their budget. */
PyObject *open_usual(PyObject *module, PyObject *args) {
    PyObject *of_slots, *of_batch;
    Py_buffer c[COLUMNS], b[BATCH], out = {0};
    double now;
    int at_most;
    budget may;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!w*di(dddd)", &PyTuple_Type, &of_slots, &PyTuple_Type, &of_batch, &out, &now,
                          &at_most, &may.packets_per_s, &may.bytes_per_s, &may.packets_burst_s, &may.sizes_burst_s))
        return NULL;
    const int slots_taken = take(of_slots, columns, COLUMNS, READ, c);
    const int taken = PyErr_Occurred() ? 0 : take(of_batch, batch, BATCH, CAME, b);
    const char *wrong = NULL;
    Py_ssize_t packets = 0, others = 0, unknown = 0, forged = 0, excess = 0, at = 0;
    if (PyErr_Occurred()) goto done;

    const Py_ssize_t ends = count_of(&c[CONNECTION], 8), count = count_of(&b[SIZES], 8);
    const Py_ssize_t width = count ? b[DATA].len / count : 0, address = count ? b[ADDRESSES].len / count : 0;
    const int64_t *sizes = b[SIZES].buf;
    const uint64_t *connection = c[CONNECTION].buf;
    int64_t *highest = c[HIGHEST].buf, *times = c[TIMES].buf, *slots = b[SLOTS].buf;
    for (Py_ssize_t i = 0; i < count && !wrong; i++) { /* whose they are */
        if (sizes[i] < 0 || sizes[i] > width) wrong = "a row out of bounds";
        slots[i] = -1;
        if (wrong || sizes[i] < OVERHEAD) continue;
        const uint64_t id = little((unsigned char *)b[DATA].buf + i * width + CONNECTION_AT, 8), slot = id & SLOT_MASK;
        if (slot < (uint64_t)ends && connection[slot] == id) times[slots[i] = (int64_t)slot] = 0;
    }
    for (Py_ssize_t i = 0; i < count && !wrong; i++) { /* who has sent what cannot be usual, or from elsewhere */
        const int64_t slot = slots[i];
        if (slot >= 0 && (((unsigned char *)b[DATA].buf)[i * width] != INPUT_FIRST || sizes[i] > PAYLOAD_MAX ||
                          address > 4 * ADDRESS_WORDS || ((int8_t *)c[PATH_BYTES].buf)[slot] != address ||
                          memcmp((uint32_t *)c[PATH].buf + slot * ADDRESS_WORDS, (char *)b[ADDRESSES].buf + i * address,
                                 (size_t)address)))
            times[slot] = at_most;
    }
    for (Py_ssize_t i = 0; i < count && !wrong; i++) {
        const int64_t slot = slots[i], size = sizes[i];
        const unsigned char *datagram = (unsigned char *)b[DATA].buf + i * width;
        if (slot < 0) {
            unknown++;
            continue;
        }
        const int ahead = (int)((little(datagram + NAMED_SIZE, 2) - (uint64_t)highest[slot]) & 0xFFFF);
        if (ahead == 0 || ahead > AHEAD_MAX) times[slot] = at_most;
        if (times[slot]++ >= at_most) {
            ((int64_t *)b[OTHERS].buf)[others++] = i;
            continue;
        }
        const unsigned char suite = ((unsigned char *)c[SUITE].buf)[slot];
        if (suite >= SUITES || !inside(at, size - OVERHEAD, out.len)) {
            wrong = "a row out of bounds";
            break;
        }
        if (!open_datagram(suite, (unsigned char *)c[KEYS].buf + slot * KEY_SIZE, highest[slot] + ahead, CLIENT_TO_SERVER,
                           datagram, size, (unsigned char *)out.buf + at)) {
            forged++;
            continue;
        }
        highest[slot] += ahead;
        shift((uint64_t *)c[WINDOW].buf + slot * WORDS, ahead);
        ((double *)c[HEARD_AT].buf)[slot] = ((double *)c[PATH_HEARD_AT].buf)[slot] = now;
        if (!within((double *)c[PACKETS_FULL_AT].buf + slot, (double *)c[SIZES_FULL_AT].buf + slot, size, now, &may)) {
            excess++;
            continue;
        }
        ((int8_t *)c[CHANNEL].buf)[slot] = BY_DATAGRAM;
        slots[packets] = slot; /* not before `i`: that slot was looked at */
        ((int64_t *)b[OPENED].buf)[packets++] = size - OVERHEAD;
        at += size - OVERHEAD;
    }
done:
    release(c, slots_taken);
    release(b, taken);
    PyBuffer_Release(&out);
    if (PyErr_Occurred()) return NULL;
    if (wrong) return refuse(wrong);
    return Py_BuildValue("nnnnn", packets, others, unknown, forged, excess);
}
