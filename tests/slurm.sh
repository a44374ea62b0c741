#!/usr/bin/env bash
# Runs a Slurm cluster of two nodes on this machine, for tests. It needs slurm-wlm and munge, but no
# root, systemd, cgroups or database.
#
#     eval "$(tests/slurm.sh start DIR)"    # Returns when both nodes are idle; sets SLURM_CONF.
#     tests/slurm.sh stop DIR               # Kills its daemons and jobs.
#
# Everything lies under DIR, whose path must be short: Slurm and munge put sockets there. Clusters
# in several DIRs may be up at once. `start` replaces a cluster in DIR that is up or has crashed.
set -euo pipefail

# The names are addresses, because JAX resolves its peers' names, as it can on a real cluster.
readonly CLUSTER=vgg NODES=(127.0.0.1 127.0.0.2)

main() {
    [[ $# -eq 2 && $1 =~ ^(start|stop)$ ]] || fail "usage: tests/slurm.sh start|stop DIR"
    PATH=$PATH:/usr/sbin:/sbin  # Where Debian has the daemons.
    local name
    for name in slurmctld slurmd munged mungekey; do
        command -v $name > /dev/null || fail "There is no $name: install slurm-wlm and munge."
    done
    dir=$(realpath --canonicalize-missing "$2")
    [[ $dir =~ ^[A-Za-z0-9/._-]{1,70}$ ]] || fail "DIR $dir must have at most 70 plain characters."
    export SLURM_CONF=$dir/slurm.conf
    "$1"
}

start() {
    stop
    mkdir -p "$dir"
    [[ -e $SLURM_CONF || -z $(ls -A "$dir") ]] || fail "$dir isn't empty, and it holds no cluster."
    write_conf
    rm -rf "$dir"/{state,log,munge.*}
    mkdir -p "$dir"/{state/ctld,log}
    trap 'tail -n 20 "$dir"/log/* >&2; stop' EXIT

    # munge needs --force, because it mistrusts paths below folders that are private or writable by
    # others.
    mungekey --create --keyfile="$dir/munge.key"
    daemon munged munged --foreground --force --key-file="$dir/munge.key" \
        --socket="$dir/munge.socket" --pid-file="$dir/munge.pid" --seed-file="$dir/munge.seed" \
        --log-file="$dir/munge.log"
    until_true "munged answers" munge --no-input --socket="$dir/munge.socket"

    daemon slurmctld slurmctld -D -c -f "$SLURM_CONF"
    until_true "slurmctld answers" scontrol ping
    local node
    for node in "${NODES[@]}"; do
        daemon "slurmd.$node" slurmd -D -N "$node" -f "$SLURM_CONF"
    done
    until_true "both nodes are idle" nodes_idle
    trap - EXIT
    printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"
}

# Ports and job numbers must not meet another cluster's. JAX derives its coordinator's port from the
# job's number modulo 4096, so that the jobs of two clusters that both began at 1 would meet.
write_conf() {
    local cpus memory_mb ports first_job
    cpus=$(nproc)
    memory_mb=$(awk '/^MemTotal/ {print int($2 / 1024 / 2)}' /proc/meminfo)
    mapfile -t ports < <(free_ports 3)
    first_job=$((RANDOM * 10 + 1))
    {
        cat << END
ClusterName=$CLUSTER
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its credential has expired (120 s by default), and a second more.
AuthInfo=socket=$dir/munge.socket,cred_expire=5
FirstJobId=$first_job

StateSaveLocation=$dir/state/ctld
SlurmdSpoolDir=$dir/state/%n
SlurmctldPidFile=$dir/state/slurmctld.pid
SlurmdPidFile=$dir/state/slurmd.%n.pid

ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=$((memory_mb / cpus))
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0

PartitionName=test Nodes=$(IFS=,; echo "${NODES[*]}") Default=YES State=UP
END
        local i
        for i in "${!NODES[@]}"; do
            echo "NodeName=${NODES[i]} NodeAddr=${NODES[i]} NodeHostname=$(hostname)" \
                "Port=${ports[i + 1]} CPUs=$cpus RealMemory=$memory_mb"
        done
    } > "$SLURM_CONF"
}

# Prints free ports below the range from which systems take the ports of outgoing connections.
free_ports() {
    local port left=$1
    while ((left)); do
        port=$((20000 + RANDOM % 12000))
        if ! (: <> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
            echo $port
            left=$((left - 1))
        fi
    done
}

nodes_idle() {
    [[ $(sinfo --noheader --Node --format=%t | sort --unique) == idle ]]
}

daemon() {
    local name=$1
    shift
    (cd "$dir/state" && exec setsid "$@" < /dev/null > "$dir/log/$name" 2>&1) &
}

until_true() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@" > /dev/null 2>&1; do
        if ((SECONDS > deadline)); then
            echo "After 30 s it still wasn't true that $what." >&2
            return 1
        fi
        sleep 0.1
    done
}

stop() {
    until_true "all processes ended" kill_all
}

kill_all() {
    local numbers
    mapfile -t numbers < <(ours)
    ((${#numbers[@]} == 0)) || { kill -KILL "${numbers[@]}"; false; }
}

# Prints the numbers of the daemons and of Slurm's supervisors of jobs, which work in DIR/state, and
# of the jobs' processes. Numbers in files could be those of other processes by now.
ours() {
    local process
    for process in /proc/[0-9]*; do
        if [[ $(readlink "$process/cwd") == "$dir/state" ]]; then
            grep -qE '^(munged|slurm)' "$process/comm" || continue
        else
            grep -qzFx "SLURM_CONF=$SLURM_CONF" "$process/environ" || continue
            grep -qzFx "SLURM_CLUSTER_NAME=$CLUSTER" "$process/environ" || continue
        fi
        echo "${process#/proc/}"
    done 2> /dev/null
}

fail() {
    echo "$1" >&2
    exit 2
}

main "$@"
