/* Ends a process between any two instructions of the replay window and looks at what is in its memory afterwards.
 *
 * kills WINDOW ROUNDS: in each round a child takes some numbers, in memory that is shared, and is killed after a random
 * number of single steps. Then nothing that it delivered may be taken again, and all else in the window must be. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "replay.h"

enum { NUMBERS = 1 << 22, STEPS = 400, TAKEN = 6 };

typedef struct shared {
    slot at;
    u64 under_way; /* the number that the child is taking */
    int twice;
    u8 delivered[NUMBERS];
} shared;

static void *share(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        _exit(2);
    return memory;
}

static int takes(replay *r, u64 number)
{
    return replay_check(r, (u32)number) >= 0 && replay_update(r, (u32)number, UINT64_MAX) == REPLAY_ACCEPTED;
}

static void child(shared *s, u64 window, u8 *ring, u64 length, unsigned seed)
{
    const u64 reaches[] = {1, 2, 9, window / 2, window, 3 * window, 20 * window};
    replay r = {0};
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || replay_start(&r, window, 0, 0, &s->at, ring, length))
        _exit(2);
    raise(SIGSTOP);
    for (int i = 0; i < TAKEN; i++) {
        u64 reach = reaches[rand_r(&seed) % 7], back = reach < window ? reach : window - 1;
        u64 number = s->at.received_high + (u64)rand_r(&seed) % (reach + back + 1);
        number = number > back ? number - back : 1;
        s->under_way = number;
        IN_ORDER();
        if (takes(&r, number)) {
            s->twice += s->delivered[number];
            s->delivered[number] = 1;
        }
        IN_ORDER();
        s->under_way = 0;
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    u64 window = strtoull(argv[1], NULL, 10), length = 1;
    while (length <= (window + 7) / 8 + 3)
        length *= 2;
    shared *s = share(sizeof *s);
    u8 *ring = share(length), *copy = malloc(length), *lost = calloc(NUMBERS, 1);
    if (!copy || !lost)
        return 2;
    unsigned seed = (unsigned)window;
    int interrupted = 0, replays = 0, refused = 0;
    for (int round = atoi(argv[2]); round && s->at.received_high + TAKEN * 20 * window < NUMBERS; round--) {
        int status, steps = rand_r(&seed) % STEPS;
        pid_t pid = fork();
        if (pid == 0)
            child(s, window, ring, length, seed);
        for (waitpid(pid, &status, 0); steps-- && WIFSTOPPED(status); waitpid(pid, &status, 0))
            ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        if (WIFSTOPPED(status)) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
        } else if (WEXITSTATUS(status) == 2) {
            return 2;
        }
        lost[s->under_way] = 1; /* it may count as taken, but was not delivered */
        interrupted += s->at.advancing > s->at.received_high;
        replay r = {0};
        if (replay_start(&r, window, 0, 0, &s->at, ring, length))
            return 2;
        slot before = s->at;
        memcpy(copy, ring, length);
        for (u64 n = before.received_high >= window ? before.received_high - window + 1 : 1; n <= before.received_high;
             n++) {
            int taken = takes(&r, n);
            replays += taken && s->delivered[n];
            refused += !taken && !s->delivered[n] && !lost[n];
        }
        s->at = before;
        memcpy(ring, copy, length);
    }
    printf("interrupted %d, replays %d, refused %d, twice %d\n", interrupted, replays, refused, s->twice);
    return replays || refused || s->twice;
}
