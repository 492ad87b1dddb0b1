-- What people look at, what a process asks when it starts, and what it does now and then.

-- For people, and for the start.

function changes.find(id)
  local entry = entry_of(id)
  return entry[2] and {entry} or {}
end

-- Rows behind a place, of all lanes or the open ones of one: {'' or the place to go on behind, entries ...}.
function changes.browse(open, lane, state, after, limit)
  local key = open ~= '' and PREFIX .. 'open:' .. lane or ROWS
  local ids = call('ZRANGEBYSCORE', key, '(' .. after, '+inf', 'LIMIT', 0, MOST)
  local found, last = {''}, after
  for at, id in ipairs(ids) do
    local row = call('HMGET', key_of(id), 'lane', 'state', 'place')
    last = row[3] or last
    if not row[3] then
      strike_everywhere(id)
    elseif (lane == '' or row[1] == lane) and (state == '' or row[2] == state) then
      found[#found + 1] = entry_of(id)
    end
    if #found > tonumber(limit) then
      break
    end
    if at == MOST then
      found[1] = last
    end
  end
  return found
end

function changes.stats()
  local oldest = {}
  for lane in pairs(counts) do
    local first = call('ZRANGE', PREFIX .. 'open:' .. lane, 0, 0)[1]
    local at = first and call('HGET', key_of(first), 'accepted_at')
    if first and not at then
      recount(lane)
      first = call('ZRANGE', PREFIX .. 'open:' .. lane, 0, 0)[1]
      at = first and call('HGET', key_of(first), 'accepted_at')
    end
    if at then
      oldest[#oldest + 1] = {lane, at}
    end
  end
  return oldest
end

-- What `recent_starts` needs of some rows: {how many were looked at, {place, lane, tries, leased_at, answered_at} ...}.
function changes.starts(lane, horizon, skipped)
  local key = lane ~= '' and PREFIX .. 'open:' .. lane or PUBLISHED
  local ids = call('ZRANGEBYSCORE', key, lane ~= '' and '-inf' or '(' .. horizon, '+inf', 'LIMIT', skipped, MOST)
  local found = {tostring(#ids)}
  for _, id in ipairs(ids) do
    local row = call('HMGET', key_of(id), 'place', 'lane', 'tries', 'leased_at', 'answered_at')
    if row[3] ~= '0' and row[4] then
      found[#found + 1] = row
    end
  end
  return found
end

-- Some rows of a lane by the rules of who opens: {'' or the place to go on behind}.
function changes.open(lane, after, exclusive)
  local ids = call('ZRANGEBYSCORE', PREFIX .. 'open:' .. lane, '(' .. after, '+inf', 'LIMIT', 0, MOST)
  local last = after
  for _, id in ipairs(ids) do
    local row = load(id)
    if row then
      local theirs = exclusive ~= '' and row.held ~= '' and call('HGET', key_of(id), 'boot') ~= BOOT
      settle(row, theirs and row.ready_at > now and {ready_at = now} or {})
      last = row.place
    else
      strike_everywhere(id)
    end
  end
  return {#ids == MOST and last or ''}
end

-- {'1' if rows stand in their lines by another `max_tries`}; the caller sees to that.
function changes.rules()
  local before = call('HGET', META, 'max_tries')
  call('HSET', META, 'max_tries', MAX_TRIES)
  return {before and tonumber(before) ~= MAX_TRIES and '1' or ''}
end

function changes.purge()
  local ids = call('ZRANGEBYSCORE', PUBLISHED, '-inf', now - RETENTION, 'LIMIT', 0, MOST)
  for _, id in ipairs(ids) do
    forget({id = id})
  end
  return {tostring(#ids), #ids == MOST and '1' or ''}
end

function changes.check()
  call('HSET', META, 'checked_at', now)
  return {'ok'}
end
