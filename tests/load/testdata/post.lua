-- The requests that loadtest makes by default, for wrk: an event with its own dedup id, 100 keys in turn.
local thread, n, run = 0, 0, os.time()
function setup(t) t:set("id", thread); thread = thread + 1 end
local headers = { ["Content-Type"] = "application/json" }
function request()
  n = n + 1
  headers["X-API-Key"] = string.format("key_%08d", n % 100)
  return wrk.format("POST", "/v1/events", headers, string.format(
    '{"type":"contact.created","dedup_id":"%d-%d-%d","payload":{"email":"user%d@example.com","name":"Test User",' ..
    '"plan":"pro","n":%d,"tags":["a","b","c"]}}', run, id, n, n, n))
end
