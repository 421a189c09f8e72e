/*
 * The re-entrant sync made safe against channels that die: what this project's loader does.
 *
 * Three things are not as in reentrant.pml.
 *  - A counting semaphore idle, at first the number of channels: a channel posts it when it has
 *    done its job, and hand_out waits for it instead of looking round after round.
 *  - A channel that dies has a last will: it records the error, then posts both idle and sem_sync,
 *    so that whoever waits for it wakes, and after the wait finds the error.
 *  - close() alone sets exiting, and joins every channel, also those that died.
 *
 * The first error ends the load: after it nothing may be called but close().
 */

#include "common.pml"

byte sem_sync;
byte idle = CHANNELS;
byte error;         /* of the channel that failed first: its id + 1; 0: none has */

/* The first error is kept; a mutex in the code. */
inline record_error()
{
    atomic {
        if
        :: error == 0 -> error = id + 1
        :: else
        fi
    }
}

/* A channel: multifd_recv_thread() with a last will. */
proctype channel(byte id)
{
    bool local_err;

    do
    ::  sem_wait(params[id].sem);
        if
        :: exiting -> break
        :: else
        fi;
        if
        :: !params[id].pending_job -> sem_post(sem_sync)    /* no job: this is a sync */
        :: else ->
            if
            :: recv(params[id].data)
            :: recv_fails -> local_err = true; break
            fi;
            params[id].data = 0;
            params[id].pending_job = false;
            sem_post(idle)
        fi
    od;
    if
    :: local_err ->         /* pending_job stays: this channel gets no other job */
        record_error();
        sem_post(idle);
        sem_post(sem_sync)
    :: else
    fi;
    params[id].ended = true
}

/* multifd_recv(): waits until some channel is idle, gives the first such channel the next job. */
inline hand_out()
{
    sem_wait(idle);
    if
    :: error != 0 -> failed = true
    :: else ->
        i = 0;
        do
        :: params[i].pending_job -> i++; assert(i < CHANNELS)
        :: else -> break
        od;
        assert(params[i].data == 0);
        handed_out++;
        params[i].data = handed_out;
        params[i].pending_job = true;
        sem_post(params[i].sem)
    fi
}

/* multifd_recv_sync_main() */
inline sync_main()
{
    for (i : 0 .. CHANNELS - 1) {
        sem_post(params[i].sem)
    }
    for (i : 0 .. CHANNELS - 1) {
        sem_wait(sem_sync);
        if
        :: error != 0 -> failed = true; break
        :: else
        fi
    }
    assert(failed || jobs_done == handed_out)
}

/* multifd_recv_cleanup(); the file is closed, and the memory let go, after the last join. */
inline close_channels()
{
    exiting = true;
    for (i : 0 .. CHANNELS - 1) {
        sem_post(params[i].sem)
    }
    for (i : 0 .. CHANNELS - 1) {
        params[i].ended
    }
    cleanup = true
}

/* Every job that was handed out has been done, or is still with a channel that has ended. */
inline check_books()
{
    left = 0;
    for (i : 0 .. CHANNELS - 1) {
        assert(params[i].ended);
        left = left + params[i].pending_job
    }
    assert(jobs_done + left == handed_out);
    assert((error != 0) == (dead > 0))
}

/* The caller: jobs and syncs in any order, close() at any time, at the latest after an error. */
init
{
    byte i, syncs, left;
    bool failed;

    atomic {
        for (i : 0 .. CHANNELS - 1) {
            run channel(i)
        }
    }
    do
    :: failed -> break
    :: !failed && handed_out < JOBS -> hand_out()
    :: !failed && syncs < SYNCS -> sync_main(); syncs++
    :: !failed -> break
    od;
    close_channels();
    check_books();
    main_done = true
}
