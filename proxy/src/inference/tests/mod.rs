mod answers;
mod bounds;
mod translation;
mod world;
