/**
 * A task's place in its line is a number, least first. At the back, places count up from 1 per queue; a task
 * whose lease ran out gets the number of its grant minus this, which puts it before all of those and keeps
 * several of them in the order of their grants.
 */
export const FRONT_OF_LINE = 2 ** 52;
