/*
 * What the three models of the receive channels share: their sizes, QEMU's semaphores, the fields
 * of a channel, and the books that are kept about the jobs.  ../README.md says how to run them.
 *
 * Upstream: migration/multifd.c, migration/multifd.h.  Names are QEMU's where QEMU has one.
 *
 * Promela's memory is sequentially consistent.  In QEMU that takes acquire and release around
 * pending_job, elsewhere a lock; whether they are right is nothing that the models can show.
 */

#ifndef CHANNELS
#define CHANNELS 2     /* migrate_multifd_channels(), at least 1 */
#endif
#ifndef JOBS
#define JOBS 2         /* how many jobs there are to hand out */
#endif
#ifndef SYNCS
#define SYNCS 1        /* how often the main thread syncs */
#endif
#ifndef DYING
#define DYING 0        /* how many channels may die of a job that fails */
#endif

/* qemu_sem_wait(), qemu_sem_post() */
#define sem_wait(semaphore) atomic { semaphore > 0 -> semaphore-- }
#define sem_post(semaphore) semaphore++

/* One channel, as the main thread and the channel's own thread see it. */
typedef MultiFDRecvParams {
    byte sem;           /* posted by the main thread: there is something to look at */
    bool pending_job;   /* set by the main thread, cleared by the channel that has done the job */
    byte data;          /* the job, a number from 1; 0 is QEMU's data->size == 0 */
    byte sem_sync;      /* of the one-shot design alone: posted by the channel as it quits */
    bool ended;         /* the thread is over: what qemu_thread_join() waits for */
};

MultiFDRecvParams params[CHANNELS];
bool exiting;           /* multifd_recv_should_exit() */

/* The books.  No thread decides anything by them, except that DYING bounds dead. */
byte handed_out;        /* jobs 1 .. handed_out have been given to a channel */
byte jobs_done;         /* and so many of them have been done */
bool done[JOBS + 1];    /* this one has been */
byte dead;              /* channels that have died */
bool cleanup;           /* the load counts as done: nobody may touch the guest's memory any more */
bool main_done;

/* multifd_recv_state->ops->recv(): reads the job's pages from the file into the guest's memory. */
#define recv(job)                       \
    atomic {                            \
        assert(job > 0 && !done[job]);  \
        assert(!cleanup);               \
        done[job] = true;               \
        jobs_done++                     \
    }

/* The same, with an error: nothing has been read. */
#define recv_fails atomic { dead < DYING -> dead++ }

/* The main thread always comes to its end.  Checked with weak fairness (pan -a -f). */
ltl terminates { <> main_done }
