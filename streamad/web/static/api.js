// Requests to the API, with the session's token, and who is logged in.

export class Problem extends Error {
  constructor(status, message, hint = null, document = null) {
    super(message);
    this.status = status;   // 0: the server could not be reached
    this.hint = hint;
    this.document = document;
  }
}

const ROLES = ["metrics", "viewer", "operator", "admin"];
// Before it is known (authentication null), and for servers without logins: reading is allowed.
export let me = { name: null, role: "viewer", authentication: null, csrf_token: null, login: false };

export const may = (role) => ROLES.indexOf(me.role) >= ROLES.indexOf(role);

export async function request(path, { method = "GET", body = undefined, timeout = 10000 } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && me.csrf_token) headers["X-CSRF-Token"] = me.csrf_token;
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), timeout);
  let answer;
  try {
    answer = await fetch("/api/v1/" + path, {
      method, headers, cache: "no-store", signal: stop.signal, body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Problem(0, "The server does not answer.");
  } finally { clearTimeout(timer); }
  if (answer.ok) return answer;
  let document = null;
  try { document = await answer.json(); } catch { /* of a proxy, perhaps */ }
  throw new Problem(answer.status, document?.error ?? "The server answered " + answer.status + ".", document?.hint, document);
}

export const ask = async (path, options) => (await request(path, options)).json();

/** Learn who is logged in. Returns "ok", "login" or "lost". */
export async function whoAmI() {
  try {
    me = await ask("me");
    return "ok";
  } catch (problem) {
    if (problem.status === 401) {
      me = { name: null, role: "metrics", authentication: "none", csrf_token: null, login: true };
      return "login";
    }
    return problem.status === 404 ? "ok" : "lost";
  }
}

export async function logIn(name, password) {
  me = await ask("login", { method: "POST", body: { name, password } });
}

export async function logOut() {
  await request("logout", { method: "POST" });
}

export const cameraPath = (id) => "cameras/" + encodeURIComponent(id);
