/*
 * The receive channels as proposed in the review of version 4, and as merged: syncs may repeat.
 *
 * There is one sem_sync for all.  sync_main posts the sem of every channel without giving it a job,
 * then waits sem_sync once for each channel; a channel that wakes without a job posts sem_sync and
 * waits on.  It can't see the sync before it has done its job, as only it clears pending_job.
 *
 * Whatever the order of jobs and syncs, this holds, as long as a sync comes last: SYNCS=0 with JOBS
 * must fail as NO_SYNC does in one-shot.pml.
 *
 * DYING=1 must fail: a channel that dies never posts sem_sync, and neither do the others, which it
 * tells to quit.  sync_main waits for ever.
 */

#include "common.pml"

byte sem_sync;      /* multifd_recv_state->sem_sync */

/* multifd_recv_terminate_threads(): of all calls only the first does anything. */
inline terminate_threads()
{
    bool first = false;

    atomic {            /* qatomic_xchg() */
        first = !exiting;
        exiting = true
    }
    if
    :: first ->
        for (k : 0 .. CHANNELS - 1) {
            sem_post(params[k].sem)
        }
    :: else
    fi
}

/* multifd_recv_thread(), the branches without packets. */
proctype multifd_recv_thread(byte id)
{
    byte k;
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
            params[id].pending_job = false
        fi
    od;
    if
    :: local_err -> terminate_threads()
    :: else
    fi;
    params[id].ended = true
}

/* multifd_recv(): looks round after round for a channel without a job, to give it the next one. */
inline multifd_recv()
{
    do
    :: exiting -> failed = true; break
    :: else ->
        if
        :: !params[next_recv_channel].pending_job ->
            assert(params[next_recv_channel].data == 0);
            handed_out++;
            params[next_recv_channel].data = handed_out;
            params[next_recv_channel].pending_job = true;
            sem_post(params[next_recv_channel].sem);
            next_recv_channel = (next_recv_channel + 1) % CHANNELS;
            break
        :: else -> next_recv_channel = (next_recv_channel + 1) % CHANNELS
        fi
    od
}

/* multifd_recv_sync_main(): multifd_recv_file_sync_request(), then the wait. */
inline multifd_recv_sync_main()
{
    for (i : 0 .. CHANNELS - 1) {
        sem_post(params[i].sem)
    }
    for (i : 0 .. CHANNELS - 1) {
        sem_wait(sem_sync)
    }
    assert(jobs_done == handed_out)
}

/* multifd_recv_cleanup() */
inline multifd_recv_cleanup()
{
    terminate_threads();
    for (i : 0 .. CHANNELS - 1) {
        params[i].ended         /* qemu_thread_join() */
    }
}

/* The thread that runs ram_load(): jobs and syncs in any order, a sync last if there is any. */
init
{
    byte i, k, next_recv_channel, syncs;
    bool failed;

    atomic {
        for (i : 0 .. CHANNELS - 1) {
            run multifd_recv_thread(i)
        }
    }
    do
    :: handed_out < JOBS && !failed && (syncs < SYNCS || SYNCS == 0) -> multifd_recv()
    :: syncs < SYNCS && !failed -> multifd_recv_sync_main(); syncs++
    :: syncs == SYNCS || failed -> break
    od;
    cleanup = !exiting;         /* a load that has failed is no load */
    multifd_recv_cleanup();
    assert(jobs_done == handed_out || dead > 0);
    main_done = true
}
