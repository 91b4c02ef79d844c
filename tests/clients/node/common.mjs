// What the sessions share: where the server is, and how a check is counted.
export const { LATTICE_URL: url, LATTICE_KEY: key, LATTICE_CHAT_MODEL: model, LATTICE_EMBED_MODEL: embedder } = process.env;
export const question = [{ role: "user", content: "Tell me about a fox." }];
let checks = 0;

/** One promise. The first one that does not hold ends the session. */
export function check(what, holds) {
  checks += 1;
  if (!holds) {
    console.error(`does not hold: ${what}`);
    process.exit(1);
  }
}

/** The error that `call` ends in. */
export async function fails(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  console.error("no error");
  process.exit(1);
}

export function done() {
  console.log(`${checks} checks hold`);
}
