-- The changes that come by id, from those who ask and those on call: accept, promise a callback, cancel, hurry.

local function next_place()
  local place = call('HINCRBY', META, 'place', 1)
  if place == 1 then -- nothing was stored, or all of it was lost: go on above whatever was given before
    place = math.floor((time[1] - BEGINNING) * 1e5 + time[2] / 10)
    call('HSET', META, 'place', text(place))
  end
  return text(place)
end

function changes.accept(id, lane, priority, fingerprint, topic, request, body, expires_in, lease_for)
  local row = call('EXISTS', key_of(id)) == 1 and load(id)
  if row and not is_past(row) then
    local found = call('HMGET', key_of(id), 'fingerprint', 'event')
    if found[1] ~= fingerprint then
      return {'mismatch'}
    end
    counts_of(row.lane)
    restore(row)
    return {'known', row.state, row.reply, row.outcome, found[2]}
  end
  local of = counts_of(lane)
  if of.queued + of.leased + of.answered >= LIMIT then
    return {'full'}
  end
  if row then
    forget(row)
  end
  local place = next_place()
  local values = {
    place = place, lane = lane, priority = tonumber(priority), fingerprint = fingerprint, topic = topic,
    request = request, body = body, accepted_at = now, expires_at = now + expires_in,
    state = 'queued', reply = 'callback', attempt = 0, tries = 0, ready_at = now,
  }
  if lease_for ~= '' then
    values.state, values.reply, values.held, values.boot = 'leased', 'response', '1', BOOT
    values.attempt, values.tries, values.leased_at, values.ready_at = 1, 1, now, now + lease_for
  end
  if call('ZADD', ROWS, place, id) == 0 then -- its former row was thrown away
    strike_everywhere(id)
    call('ZADD', ROWS, place, id)
  end
  call('ZADD', PREFIX .. 'open:' .. lane, place, id)
  settle({id = id, line = '', outcome = '', cancelled = ''}, values)
  return {'new', place, text(now)}
end

function changes.promise_callback(id)
  local row = load(id)
  if not row then
    return {'unknown'}
  elseif row.state == 'published' then -- it is not published a second time
    return {'ok', row.outcome, call('HGET', key_of(id), 'event')}
  elseif row.reply == 'response' then
    settle(row, {reply = 'callback'})
  end
  return {'ok'}
end

function changes.cancel(id)
  local row = load(id)
  if not row then
    return {'unknown'}
  end
  if row.outcome == '' and row.cancelled == '' then
    settle(row, {cancelled = '1', ready_at = row.held ~= '' and row.ready_at or math.min(row.ready_at, now)})
    stirred = true
  end
  return {'ok', entry_of(id)}
end

function changes.hurry(id)
  local row = load(id)
  if not row then
    return {'unknown'}
  end
  if row.state ~= 'published' and row.held == '' and row.ready_at > now then
    settle(row, {ready_at = now})
    stirred = true
  end
  return {'ok', entry_of(id)}
end
