/* The load: what a client does while a clock runs, the same for every server, as cheap as it can be. Loaded into
 * Python as a library, which says the words of each protocol and hands over sockets that are ready; threads of
 * Python run in here side by side. Functions give a count, or -errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE (1 << 20)

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Read count octets (to the end of the stream if it is negative) and throw them away. The kernel does, without
 * copying them: what is measured is the server. */
int64_t discard(int socket, int64_t count) {
    int64_t got = 0;
    while (count < 0 || got < count) {
        int64_t wanted = count < 0 || count - got > PIECE ? PIECE : count - got;
        ssize_t n = recv(socket, NULL, wanted, MSG_TRUNC);
        if (n < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        if (n == 0) break;
        got += n;
    }
    return got;
}

/* The octets that generate() sends: pieces of 1 MiB that differ in their first eight octets, their number. */
static char *make_piece(void) {
    static char *piece;
    if (piece) return piece;
    char *made = malloc(PIECE);
    uint64_t x = 88172645463325252ULL;
    for (size_t i = 0; i < PIECE; i += 8) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memcpy(made + i, &x, 8);
    }
    return piece = made;
}

void fill(char *buffer, int64_t number) {
    memcpy(buffer, make_piece(), PIECE);
    memcpy(buffer, &number, 8);
}

int64_t generate(int socket, int64_t count) {
    char *piece = malloc(PIECE);
    int64_t sent = 0, error = 0;
    fill(piece, 0);
    while (sent < count && !error) {
        int64_t number = sent / PIECE, offset = sent % PIECE;
        memcpy(piece, &number, 8);
        int64_t wanted = PIECE - offset < count - sent ? PIECE - offset : count - sent;
        ssize_t n = send(socket, piece + offset, wanted, MSG_NOSIGNAL);
        if (n >= 0) sent += n;
        else if (errno != EINTR) error = -errno;
    }
    free(piece);
    return error ? error : sent;
}

static int recv_all(int socket, char *buffer, int64_t count) {
    while (count > 0) {
        ssize_t n = recv(socket, buffer, count < 4096 ? count : 4096, 0);
        if (n <= 0) return n ? -errno : -ECONNRESET;
        count -= n;
    }
    return 0;
}

/* One request after another on one connection, with a pause between them. Latencies in nanoseconds. */
int64_t ping(int socket, const char *request, int64_t length, int64_t response, double seconds, int64_t pause_ns,
             int64_t *latencies, int64_t most) {
    char buffer[4096];
    int64_t count = 0, begin = now(), end = begin + (int64_t)(seconds * 1e9), start;
    struct timespec pause = {0, pause_ns};
    while (count < most && (start = now()) < end) {
        if (send(socket, request, length, MSG_NOSIGNAL) != length) return -errno;
        int error = recv_all(socket, buffer, response);
        if (error) return error;
        latencies[count++] = now() - start;
        if (pause_ns) nanosleep(&pause, NULL);
    }
    return count;
}

/* One request under way on each of many connections, for some seconds. Gives how many were answered, and in *took
 * the nanoseconds. Requests differ by connection: lengths[i] octets at requests + offsets[i]. */
int64_t request_all(const int *sockets, int64_t connections, const char *requests, const int64_t *offsets,
                    const int64_t *lengths, int64_t response, double seconds, int64_t most, int64_t *took) {
    char buffer[4096];
    int64_t *missing = calloc(connections, sizeof *missing), answered = 0, sent = 0, under_way = 0, error = 0;
    int waiting = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[256];
    int64_t begin = now(), end = begin + (int64_t)(seconds * 1e9);
    for (int64_t i = 0; i < connections && sent < most; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
        epoll_ctl(waiting, EPOLL_CTL_ADD, sockets[i], &event);
        if (send(sockets[i], requests + offsets[i], lengths[i], MSG_NOSIGNAL) != lengths[i]) error = -errno;
        missing[i] = response;
        under_way++, sent++;
    }
    while (under_way && !error) {
        int ready = epoll_wait(waiting, events, 256, -1);
        int is_over = now() >= end;
        for (int e = 0; e < ready && !error; e++) {
            int64_t i = events[e].data.u64;
            ssize_t n = recv(sockets[i], buffer, missing[i] < 4096 ? missing[i] : 4096, MSG_DONTWAIT);
            if (n <= 0) {
                if (n == 0) error = -ECONNRESET;
                else if (errno != EAGAIN) error = -errno;
                continue;
            }
            if ((missing[i] -= n)) continue;
            answered++;
            if (is_over || sent >= most) {
                under_way--;
                continue;
            }
            if (send(sockets[i], requests + offsets[i], lengths[i], MSG_NOSIGNAL) != lengths[i]) error = -errno;
            missing[i] = response;
            sent++;
        }
    }
    *took = now() - begin;
    close(waiting);
    free(missing);
    return error ? error : answered;
}

/* Send everything without waiting for answers, and read while writing, as a pipelining client must. */
int64_t pipeline(int socket, const char *requests, int64_t length, char *responses, int64_t expected) {
    int64_t sent = 0, got = 0;
    while (got < expected) {
        struct pollfd ready = {.fd = socket, .events = POLLIN | (sent < length ? POLLOUT : 0)};
        poll(&ready, 1, -1);
        if (ready.revents & POLLOUT) {
            ssize_t n = send(socket, requests + sent, length - sent < 262144 ? length - sent : 262144,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n > 0) sent += n;
            else if (errno != EAGAIN) return -errno;
        }
        if (ready.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t n = recv(socket, responses + got, expected - got < 262144 ? expected - got : 262144, MSG_DONTWAIT);
            if (n == 0) return -ECONNRESET;
            if (n > 0) got += n;
            else if (errno != EAGAIN) return -errno;
        }
    }
    return got;
}
