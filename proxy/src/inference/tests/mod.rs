mod answers;
mod bounds;
mod money;
mod resilience;
mod translation;
mod world;
