mod answers;
mod bounds;
mod parsing;
mod world;
