-- Asks a Keywheel edge whether a request may pass: `http-request lua.keywheel SCOPES`. Needs HAProxy 2.6 or newer,
-- which has an HTTP client of its own.

local EDGE = "http://127.0.0.1:8081/v1/check"     -- <- an edge
local SOCKET = nil                                -- <- or "unix@/run/keywheel/edge.sock"
local TIMEOUT_MS = 2000

local IDENTITY = {
    "x-keywheel-tenant", "x-keywheel-client", "x-keywheel-kid", "x-keywheel-key-version", "x-keywheel-key-state",
    "x-keywheel-scopes", "x-keywheel-retires-at", "x-keywheel-stale-age",
}
local RELAYED = { "content-type", "cache-control", "www-authenticate", "retry-after", "x-keywheel-error" }

-- Every copy of a header: that a credential was sent twice is for the edge to see.
local function copies(headers, name)
    local found, at = {}, 0
    while headers[name] and headers[name][at] do
        found[#found + 1] = headers[name][at]
        at = at + 1
    end
    return #found > 0 and found or nil
end

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status, body = body })
    for name, value in pairs(headers) do
        reply:add_header(name, value)
    end
    txn:done(reply)
end

local function keywheel(txn, scopes)
    local headers = txn.http:req_get_headers()
    local asked = {
        ["authorization"] = copies(headers, "authorization"),
        ["x-api-key"] = copies(headers, "x-api-key"),
        ["x-forwarded-for"] = { tostring(txn.f:src()) },
        ["x-forwarded-method"] = { txn.f:method() },
        ["x-forwarded-uri"] = { txn.f:pathq() },
    }
    if scopes and scopes ~= "-" then
        asked["x-keywheel-require-scope"] = { scopes }
    end
    local answer = core.httpclient():get({ url = EDGE, dst = SOCKET, headers = asked, timeout = TIMEOUT_MS })
    for name in pairs(headers) do
        if string.match(name, "^x[-_]keywheel[-_]") then
            txn.http:req_del_header(name)
        end
    end
    if answer.status ~= 200 then
        if not answer.headers["x-keywheel-error"] then -- no edge has answered
            refuse(txn, 503, { ["retry-after"] = "1", ["cache-control"] = "no-store" }, "")
        end
        local relayed = {}
        for _, name in ipairs(RELAYED) do
            relayed[name] = answer.headers[name] and answer.headers[name][0]
        end
        refuse(txn, answer.status, relayed, answer.body)
    end
    for _, name in ipairs(IDENTITY) do
        if answer.headers[name] then
            txn.http:req_set_header(name, answer.headers[name][0])
        end
    end
    -- The key stays here; other schemes than Bearer are your service's own.
    txn.http:req_del_header("x-api-key")
    if headers["authorization"] and string.match(string.lower(headers["authorization"][0]), "^%s*bearer%f[%s%z]") then
        txn.http:req_del_header("authorization")
    end
end

core.register_action("keywheel", { "http-req" }, keywheel, 1)
