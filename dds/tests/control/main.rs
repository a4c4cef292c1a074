//! The control plane: the cluster map command by command and at random, and whole clusters of control machines under faults.

mod golden;
mod map_commands;
mod map_random;
mod noise;
mod scenarios;
mod seeds;
mod world;
