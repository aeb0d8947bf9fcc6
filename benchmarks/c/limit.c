/* The limit: version 1 in plain C, the least that a server can do. One blocking thread a connection; a large body
 * is moved by sendfile or splice and never enters this program. No limits, no deadlines, no digests, no checks of
 * names: not a server to use.
 *
 *     limit PORT DIRECTORY [sync]
 *
 * A PUT goes to a part and is renamed, as in the other servers; with "sync", file and directory are fsynced before
 * the answer, each upload for itself.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL 65536      /* a response up to this size leaves in one send */
#define PIECE (1 << 20)  /* octets asked of one sendfile or splice; more was not faster */
#define BUFFER (4 * SMALL)

static int directory;
static int is_synced;

struct peer {
    int socket;
    int pipe[2];
    long number;
    size_t start, end;
    char in[BUFFER];
    char out[SMALL + 64];
};

/* Have at least n octets at in + start; 0 when the peer is gone. n <= BUFFER. */
static int need(struct peer *p, size_t n) {
    if (p->start + n > BUFFER) {
        memmove(p->in, p->in + p->start, p->end - p->start);
        p->end -= p->start;
        p->start = 0;
    }
    while (p->end - p->start < n) {
        ssize_t got = recv(p->socket, p->in + p->end, BUFFER - p->end, 0);
        if (got <= 0) return 0;
        p->end += got;
    }
    return 1;
}

static int send_all(struct peer *p, const char *octets, size_t n, int flags) {
    while (n) {
        ssize_t sent = send(p->socket, octets, n, flags);
        if (sent <= 0) return 0;
        octets += sent;
        n -= sent;
    }
    return 1;
}

static int write_all(int file, const char *octets, size_t n) {
    while (n) {
        ssize_t written = write(file, octets, n);
        if (written <= 0) return 0;
        octets += written;
        n -= written;
    }
    return 1;
}

static int splice_body(struct peer *p, int file, size_t rest) {
    if (!p->pipe[1]) {
        if (pipe2(p->pipe, O_CLOEXEC)) return 0;
        fcntl(p->pipe[1], F_SETPIPE_SZ, PIECE);
    }
    while (rest) {
        ssize_t got = splice(p->socket, NULL, p->pipe[1], NULL, rest < PIECE ? rest : PIECE, SPLICE_F_MOVE);
        if (got <= 0) return 0;
        rest -= got;
        while (got) {
            ssize_t moved = splice(p->pipe[0], NULL, file, NULL, got, SPLICE_F_MOVE);
            if (moved <= 0) return 0;
            got -= moved;
        }
    }
    return 1;
}

static int put(struct peer *p, const char *name) {
    if (!need(p, 4)) return 0;
    uint32_t size;
    memcpy(&size, p->in + p->start, 4);
    size = ntohl(size);
    p->start += 4;
    char part[64];
    snprintf(part, sizeof part, ".part-%ld", p->number);
    int file = openat(directory, part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (file < 0) return 0;
    if (size <= SMALL && !need(p, size)) return 0;
    size_t at_hand = p->end - p->start < size ? p->end - p->start : size;
    if (!write_all(file, p->in + p->start, at_hand)) return 0;
    p->start += at_hand;
    if (!splice_body(p, file, size - at_hand)) return 0;
    if (is_synced && fsync(file)) return 0;
    close(file);
    if (renameat(directory, part, directory, name)) return 0;
    if (is_synced && fsync(directory)) return 0;
    return send_all(p, "", 1, 0);
}

static int get(struct peer *p, const char *name, size_t length) {
    int file = openat(directory, name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return send_all(p, "\x60", 1, 0);
    struct stat status;
    fstat(file, &status);
    uint32_t size = htonl(status.st_size);
    p->out[0] = 0x20 | length;
    memcpy(p->out + 1, name, length);
    memcpy(p->out + 1 + length, &size, 4);
    size_t head = 5 + length;
    int is_whole;
    if (status.st_size <= SMALL) {
        is_whole = read(file, p->out + head, status.st_size) == status.st_size &&
                   send_all(p, p->out, head + status.st_size, 0);
    } else {
        is_whole = send_all(p, p->out, head, MSG_MORE);
        off_t offset = 0;
        while (is_whole && offset < status.st_size)
            is_whole = sendfile(p->socket, file, &offset, PIECE) > 0;
    }
    close(file);
    return is_whole;
}

static void *serve(void *argument) {
    struct peer *p = argument;
    while (need(p, 1)) {
        unsigned char header = p->in[p->start];
        size_t length = header & 31;
        if (!need(p, 1 + length)) break;
        char name[32] = {0};
        memcpy(name, p->in + p->start + 1, length);
        p->start += 1 + length;
        if (header >> 5 == 0 ? !put(p, name) : header >> 5 == 1 ? !get(p, name, length) : 1) break;
    }
    close(p->socket);
    if (p->pipe[1]) close(p->pipe[0]), close(p->pipe[1]);
    free(p);
    return NULL;
}

int main(int count, char **arguments) {
    if (count < 3) return 2;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    directory = open(arguments[2], O_RDONLY | O_DIRECTORY);
    is_synced = count > 3;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (directory < 0 || bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
        perror("limit");
        return 1;
    }
    pthread_attr_t small_stack;
    pthread_attr_init(&small_stack);
    pthread_attr_setstacksize(&small_stack, 64 * 1024);
    for (long number = 0;; number++) {
        int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (accepted < 0) continue;
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        /* malloc and not calloc: the buffers are touched when they are used. */
        struct peer *p = malloc(sizeof *p);
        p->socket = accepted;
        p->number = number;
        p->start = p->end = p->pipe[0] = p->pipe[1] = 0;
        pthread_t thread;
        if (pthread_create(&thread, &small_stack, serve, p)) {
            close(accepted);
            free(p);
        } else {
            pthread_detach(thread);
        }
    }
}
