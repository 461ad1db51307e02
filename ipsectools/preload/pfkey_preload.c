/* PF_KEY for programs on a host whose kernel has none: LD_PRELOADed, it makes socket(PF_KEY, SOCK_RAW, PF_KEY_V2) a
 * connection to the Unix socket named by $IPSECTOOLS_PFKEY (SOCK_SEQPACKET: one PF_KEY message a packet;
 * CONTRIBUTING.md has the protocol).
 *
 * What comes back is an ordinary descriptor, so that poll, dup, fork, close and passing it to another process need no
 * help. Two things do: a write that the kernel refuses must fail here with that errno, and the packets that say so (4
 * bytes, behind the replies to that write unless these are very long) must never reach the program. A write therefore
 * looks along the receive queue (SO_PEEK_OFF) for its acknowledgement without disturbing what lies before it, and a
 * read swallows the acknowledgements that follow the message it returns. Nothing is kept in this library's memory: a
 * process that was handed the descriptor, chrooted and without privileges, works the same way.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_IPSEC_POLICY
#define IP_IPSEC_POLICY 16
#endif
#ifndef IPV6_IPSEC_POLICY
#define IPV6_IPSEC_POLICY 34
#endif

enum { PFKEY_DOMAIN = 15, PFKEY_V2 = 2, ACK_LENGTH = 4, ACK_TIMEOUT_MS = 10000, RECEIVE_BUFFER = 2 << 20 };
enum { OPTION_ACK = 1, OPTION_LINUX = 2, OPTION_BUFFER = 4, OPTION_ADOPT = 8 };

/* The C library's own function of that name, looked up once. */
#define REAL(name)                                           \
    ({                                                       \
        static __typeof__(&name) found_##name;               \
        if (!found_##name)                                   \
            found_##name = (__typeof__(&name))lookup(#name); \
        found_##name;                                        \
    })

static void *lookup(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (!function)
        abort();
    return function;
}

/* Is this descriptor a connection to a pfkey socket? Asked of the kernel each time: descriptors are closed, reused and
 * passed around. */
static int is_pfkey(int fd)
{
    struct sockaddr_un peer;
    socklen_t length = sizeof peer;
    int saved = errno;
    memset(&peer, 0, sizeof peer);
    int yes = getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && peer.sun_family == AF_UNIX;
    errno = saved;
    if (!yes)
        return 0;
    size_t n = strnlen(peer.sun_path, sizeof peer.sun_path);
    return n >= 6 && memcmp(peer.sun_path + n - 6, "/pfkey", 6) == 0;
}

/* Connects to a socket file; a path that is too long for a socket address goes by way of its open directory. */
static int connect_to(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = strrchr(path, '/');
    int directory = -1;
    if (strlen(path) < sizeof address.sun_path)
        strcpy(address.sun_path, path);
    else {
        char parent[4096];
        if (!name || name - path >= (long)sizeof parent || strlen(name) > 32) {
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(parent, path, name - path);
        parent[name - path] = 0;
        directory = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory < 0)
            return -1;
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d%s", directory, name);
    }
    int result = connect(fd, (struct sockaddr *)&address, sizeof address);
    int saved = errno;
    if (directory >= 0)
        close(directory);
    errno = saved;
    return result;
}

/* Says hello and waits until it has been read: what the kernel tells every socket before that is not in the dialect
 * asked for, nor for a socket that is not open yet. */
static int greet(int fd)
{
    char hello[12] = {'I', 'P', 'S', 'E', 'C', 'P', 'F', OPTION_ACK | OPTION_LINUX | OPTION_BUFFER | OPTION_ADOPT},
         packet[ACK_LENGTH + 1];
    int size = RECEIVE_BUFFER;
    memcpy(hello + 8, &size, sizeof size);
    if (REAL(send)(fd, hello, sizeof hello, MSG_NOSIGNAL) < 0)
        return -1;
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        int ready = poll(&p, 1, ACK_TIMEOUT_MS);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            return -1;
        ssize_t n = ready ? REAL(recv)(fd, packet, sizeof packet, MSG_DONTWAIT) : 0;
        if (n == ACK_LENGTH)
            return 0;
        if (n == 0)
            errno = ready ? ECONNREFUSED : ETIMEDOUT;
        if (n <= 0)
            return -1;
    }
}

int socket(int domain, int type, int protocol)
{
    const char *path = getenv("IPSECTOOLS_PFKEY");
    if (domain != PFKEY_DOMAIN || !path)
        return REAL(socket)(domain, type, protocol);
    if ((type & 0xf) != SOCK_RAW || protocol != PFKEY_V2) {
        errno = EPROTONOSUPPORT;
        return -1;
    }
    int fd = REAL(socket)(AF_UNIX, SOCK_SEQPACKET | (type & SOCK_CLOEXEC), 0);
    if (fd < 0)
        return -1;
    if (connect_to(fd, path) < 0 || greet(fd) < 0) {
        int saved = errno == EACCES ? EPERM : errno;
        close(fd);
        errno = saved;
        return -1;
    }
    if (type & SOCK_NONBLOCK)
        fcntl(fd, F_SETFL, O_NONBLOCK); /* last, so that connect and the hello could wait */
    return fd;
}

/* A socket's own policy: IKE daemons ask for a bypass of IPsec on their sockets. The emulated kernel never touches
 * packets of sockets (its policies are those of interfaces), so where Linux has no IPsec to be asked, the bypass is
 * there already. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    int result = REAL(setsockopt)(fd, level, name, value, length);
    int is_policy =
        (level == IPPROTO_IP && name == IP_IPSEC_POLICY) || (level == IPPROTO_IPV6 && name == IPV6_IPSEC_POLICY);
    if (result < 0 && is_policy && getenv("IPSECTOOLS_PFKEY") && (errno == EOPNOTSUPP || errno == ENOPROTOOPT))
        return 0;
    return result;
}

/* Ports of NAT-T SAs belong to ipsecd until an IKE daemon asks for them with SO_REUSEPORT: which is done here for one
 * that does not. */
int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    int result = REAL(bind)(fd, address, length);
    if (result == 0 || errno != EADDRINUSE || !getenv("IPSECTOOLS_PFKEY"))
        return result;
    int type = 0, yes = 1;
    socklen_t type_length = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length) == 0 && type == SOCK_DGRAM)
        REAL(setsockopt)(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
    return REAL(bind)(fd, address, length);
}

/* Takes the acknowledgements at the head of the queue out of it. */
static void swallow_acks(int fd)
{
    char head[ACK_LENGTH + 1];
    int saved = errno;
    while (REAL(recv)(fd, head, sizeof head, MSG_PEEK | MSG_DONTWAIT) == ACK_LENGTH)
        REAL(recv)(fd, head, sizeof head, MSG_DONTWAIT);
    errno = saved;
}

/* What lies in the queue: bytes, acknowledgements among them, the errno of the last of these; closed if nothing will
 * follow. */
struct queue {
    int bytes, acks, last, closed;
};

static struct queue look_along(int fd)
{
    char packet[ACK_LENGTH + 1];
    struct queue seen = {0};
    int off = -1, saved = errno;
    ssize_t n;
    do {
        /* each look moves the peek offset by what was copied, so it is set by hand; MSG_TRUNC gives the real length */
        setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &seen.bytes, sizeof seen.bytes);
        n = REAL(recv)(fd, packet, sizeof packet, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
        if (n == ACK_LENGTH) {
            memcpy(&seen.last, packet, ACK_LENGTH);
            seen.acks++;
        }
        if (n > 0)
            seen.bytes += (int)n;
    } while (n > 0);
    seen.closed = n == 0;
    setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof off);
    errno = saved;
    return seen;
}

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

/* A write, MSG_NOSIGNAL added to the flags: what was sent, or -1 with the errno of its acknowledgement, for which it
 * waits. Those of earlier writes may still be there, behind messages that nobody has read. */
static ssize_t acknowledged(int fd, const struct msghdr *message, int flags)
{
    int earlier = look_along(fd).acks;
    ssize_t sent = REAL(sendmsg)(fd, message, flags | MSG_NOSIGNAL);
    if (sent < 0)
        return sent;
    long deadline = now_ms() + ACK_TIMEOUT_MS, left;
    while ((left = deadline - now_ms()) > 0) {
        struct queue seen = look_along(fd);
        if (seen.acks > earlier) {
            swallow_acks(fd);
            if (seen.last == 0)
                return sent;
            errno = seen.last;
            return -1;
        }
        if (seen.closed)
            break;
        if (seen.bytes) { /* what is queued already keeps poll from waiting, so wait in small steps */
            struct timespec step = {0, 50000};
            nanosleep(&step, 0);
        } else {
            struct pollfd p = {fd, POLLIN | POLLRDHUP, 0};
            poll(&p, 1, left < 100 ? (int)left : 100);
        }
    }
    errno = left > 0 ? ECONNRESET : ETIMEDOUT;
    return -1;
}

static ssize_t send_one(int fd, const void *data, size_t length, int flags)
{
    struct iovec vector = {(void *)data, length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    return acknowledged(fd, &message, flags);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    return is_pfkey(fd) ? send_one(fd, data, length, flags) : REAL(send)(fd, data, length, flags);
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t to_length)
{
    return is_pfkey(fd) ? send_one(fd, data, length, flags) : REAL(sendto)(fd, data, length, flags, to, to_length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return is_pfkey(fd) ? acknowledged(fd, message, flags) : REAL(sendmsg)(fd, message, flags);
}

ssize_t write(int fd, const void *data, size_t length)
{
    return is_pfkey(fd) ? send_one(fd, data, length, 0) : REAL(write)(fd, data, length);
}

ssize_t writev(int fd, const struct iovec *vector, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)vector, .msg_iovlen = (size_t)count};
    return is_pfkey(fd) ? acknowledged(fd, &message, 0) : REAL(writev)(fd, vector, count);
}

/* Every receiving call: acknowledgements before and behind the message are taken away. */
#define RECEIVING(fd, flags, call)                 \
    do {                                           \
        if (!is_pfkey(fd))                         \
            return call;                           \
        swallow_acks(fd);                          \
        ssize_t received = call;                   \
        if (received > 0 && !((flags) & MSG_PEEK)) \
            swallow_acks(fd);                      \
        return received;                           \
    } while (0)

ssize_t recv(int fd, void *data, size_t length, int flags)
{
    RECEIVING(fd, flags, REAL(recv)(fd, data, length, flags));
}

ssize_t recvfrom(int fd, void *data, size_t length, int flags, struct sockaddr *from, socklen_t *from_length)
{
    RECEIVING(fd, flags, REAL(recvfrom)(fd, data, length, flags, from, from_length));
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) { RECEIVING(fd, flags, REAL(recvmsg)(fd, message, flags)); }

ssize_t read(int fd, void *data, size_t length) { RECEIVING(fd, 0, REAL(read)(fd, data, length)); }

ssize_t readv(int fd, const struct iovec *vector, int count) { RECEIVING(fd, 0, REAL(readv)(fd, vector, count)); }

/* What programs compiled with _FORTIFY_SOURCE call in place of three of them; the size of their buffer comes along. */
ssize_t __read_chk(int fd, void *data, size_t length, size_t size)
{
    if (length > size)
        abort();
    return read(fd, data, length);
}

ssize_t __recv_chk(int fd, void *data, size_t length, size_t size, int flags)
{
    if (length > size)
        abort();
    return recv(fd, data, length, flags);
}

ssize_t __recvfrom_chk(int fd, void *data, size_t length, size_t size, int flags, struct sockaddr *from,
                       socklen_t *from_length)
{
    if (length > size)
        abort();
    return recvfrom(fd, data, length, flags, from, from_length);
}
