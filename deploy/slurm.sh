#!/bin/bash
# One peer a task, one GPU a peer, anywhere in the cluster. The first one founds a private swarm and makes a link, with
# which the others come. A peer that is preempted or ends early holds up nobody.
#
#     sbatch deploy/slurm.sh train cifar10 --preset lan --every-seconds 10
#
# The arguments are those of `gossip`; the share of the data is added. The folder must be one that all nodes see.
#SBATCH --job-name=gossiptrain
#SBATCH --ntasks=6
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=4
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
# Two minutes before the end each peer is asked to end: it merges with the others and saves.
#SBATCH --signal=TERM@120
set -euo pipefail
export GOSSIP_SHARED="${GOSSIP_SHARED:-$PWD/gossip-${SLURM_JOB_ID:-0}}"
mkdir -p "$GOSSIP_SHARED"

peer() {
  local number=$((SLURM_PROCID + 1)) link="$GOSSIP_SHARED/link" run="job-${SLURM_JOB_ID:-0}"
  local own=(--share "$number/$SLURM_NTASKS" --out "$GOSSIP_SHARED/peer-$number" --log-format plain)
  # What this user founds on this node stays here: all others come with the link.
  export XDG_STATE_HOME="$GOSSIP_SHARED/state-$number"
  if [ "$number" = 1 ]; then
    gossip "$@" --run "$run" "${own[@]}" &
    local trainer=$!
    until [ -s "$link" ] || ! kill -0 "$trainer" 2> /dev/null; do
      sleep 1
      gossip invite --run "$run" --expires 7d --uses "$SLURM_NTASKS" > "$link.new" 2> /dev/null && mv "$link.new" "$link"
    done
    # The signal of Slurm goes to the whole step; wait returns early then, and once more after the end.
    wait "$trainer" || wait "$trainer"
  else
    until [ -s "$link" ]; do sleep 1; done
    exec gossip "$@" --join "@$link" "${own[@]}"
  fi
}
export -f peer
srun --kill-on-bad-exit=0 bash -c 'peer "$@"' peer "$@"
