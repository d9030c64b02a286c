/* Many stream sockets written and read in one call: see netcode/sockets.py. */

#include "_packed.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores SIGPIPE */
#endif

/* send_all(sockets, data, begins, sizes, sent): send each string to its socket without waiting; sent[i] becomes how many bytes
   that socket took, 0 where it failed or is -1. */
PyObject *send_all(PyObject *module, PyObject *args) {
    enum { SOCKETS, DATA, BEGINS, SIZES, SENT, ARRAYS };
    Py_buffer a[ARRAYS];
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*y*w*", &a[SOCKETS], &a[DATA], &a[BEGINS], &a[SIZES], &a[SENT])) return NULL;
    const Py_ssize_t count = count_of(&a[SOCKETS], 8);
    const int64_t *sockets = a[SOCKETS].buf, *begins = a[BEGINS].buf, *sizes = a[SIZES].buf;
    int64_t *sent = a[SENT].buf;
    const char *wrong = NULL;
    if (count_of(&a[BEGINS], 8) != count || count_of(&a[SIZES], 8) != count || count_of(&a[SENT], 8) != count)
        wrong = "columns of different lengths";
    for (Py_ssize_t i = 0; i < count && !wrong; i++)
        if (!inside(begins[i], sizes[i], a[DATA].len)) wrong = "a row out of bounds";
    if (!wrong) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < count; i++) {
            const ssize_t took = sockets[i] < 0 ? 0
                                                : send((int)sockets[i], (char *)a[DATA].buf + begins[i], (size_t)sizes[i],
                                                       MSG_DONTWAIT | MSG_NOSIGNAL);
            sent[i] = took > 0 ? took : 0;
        }
        Py_END_ALLOW_THREADS
    }
    release(a, ARRAYS);
    if (wrong) return refuse(wrong);
    Py_RETURN_NONE;
}

/* recv_all(sockets, most, out, sizes): receive what each socket has, at most so many bytes of each; they stand one behind the
   other in `out`. sizes[i] becomes how many, 0 at the end of its stream, -1 where there is nothing now, -2 where it has
   failed. */
PyObject *recv_all(PyObject *module, PyObject *args) {
    enum { SOCKETS, OUT, SIZES, ARRAYS };
    enum { NOTHING = -1, FAILED = -2 };
    Py_buffer a[ARRAYS];
    Py_ssize_t most, at = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*nw*w*", &a[SOCKETS], &most, &a[OUT], &a[SIZES])) return NULL;
    const Py_ssize_t count = count_of(&a[SOCKETS], 8);
    const int64_t *sockets = a[SOCKETS].buf;
    int64_t *sizes = a[SIZES].buf;
    const char *wrong = NULL;
    if (count_of(&a[SIZES], 8) != count) wrong = "columns of different lengths";
    else if (most < 1 || most > INT32_MAX || a[OUT].len / most < count) wrong = "no room";
    if (!wrong) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < count; i++) {
            const ssize_t came = recv((int)sockets[i], (char *)a[OUT].buf + at, (size_t)most, MSG_DONTWAIT);
            if (came >= 0) at += sizes[i] = came;
            else sizes[i] = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? NOTHING : FAILED;
        }
        Py_END_ALLOW_THREADS
    }
    release(a, ARRAYS);
    if (wrong) return refuse(wrong);
    Py_RETURN_NONE;
}
