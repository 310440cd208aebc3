// Lets programs read one host.
let settings = { host: "example.com" };

export const configure = {
  schema() {
    return JSON.stringify({
      type: "object",
      properties: { host: { type: "string" } },
      additionalProperties: false,
    });
  },
  configure(text) {
    settings = { ...settings, ...JSON.parse(text) };
    return { bodyCap: 0, examples: [] };
  },
};

const deny = (rule, reason, hint) => ({ tag: "deny", val: { rule, reason, hint } });
const allow = (rule) => ({
  tag: "allow",
  val: { rule, inspection: "automatic", credential: undefined, privateRanges: [], headers: [], audit: undefined },
});

export const connect = {
  decide(connection) {
    return connection.host === settings.host ? allow("known-host") : { tag: "abstain" };
  },
};

export const request = {
  decide(connection, request) {
    if (connection.host !== settings.host) return { tag: "abstain" };
    if (request.method === "GET" || request.method === "HEAD") return allow("read-only");
    return deny("read-only", `${request.method} would write`, "use GET");
  },
};
